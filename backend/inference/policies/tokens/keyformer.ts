import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { Random } from "../../../common/random.ts";
import { tf } from "../../../runtime/tf.ts";
import { type Attending, addedUp, logitsOf, received } from "../attention.ts";
import { evenParameters, kept, momentParameter } from "../kinds/parameters.ts";
import { type TokenPolicy, tokenPolicy } from "../kinds/tokens.ts";
import { withRecent } from "./h2o.ts";

const parameters = z.object({
  ...evenParameters,
  ...momentParameter,
  recent: z.number().min(0).max(1).default(0.3).describe("share of the budget that is for the most recent tokens"),
  seed: z.int().min(0).default(0).describe("of the noise"),
});

/** Gumbel noise for each query and key of a layer [heads, queries, held]. */
export type Noise = (view: Attending, seed: number) => Tensor;

/** Keyformer with a noise of one's own. */
export function keyformerWith(noise: Noise): TokenPolicy<typeof parameters> {
  return tokenPolicy({
    name: "keyformer",
    title: "Heavy hitters by noisy attention",
    description:
      "As h2o, but attention is counted with Gumbel noise on its logits and a temperature that grows from 1 to 2 over the generation: keys " +
      "that might have been attended to have their chance. The recent tokens have a share of the budget of their own.",
    source:
      "Adnan et al. 2024, Keyformer: KV Cache Reduction through Key Tokens Selection for Efficient Generative Inference",
    parameters,
    queries: () => ({ of: "all", attends: true }),
    observe(view, sums, { seed }) {
      const temperature = 1 + view.step / view.steps;
      // The logarithms of a pattern are its logits but for a number for each query, which no softmax sees.
      const logits = (part: Attending) => (part.attention ? tf.log(part.attention) : logitsOf(part));
      const noisy = (part: Attending) => tf.softmax(tf.div(tf.add(logits(part), noise(part, seed)), temperature));
      return addedUp(sums, received(view, noisy));
    },
    score: (view, params, sums) => withRecent(view, sums!, Math.trunc(params.recent * kept(params, view.prompt))),
  });
}

/** Heavy hitters by attention with noise, and recent tokens. */
export const keyformer = keyformerWith((view, seed) => {
  const { held, layer, length, step } = view;
  const [heads, count] = (view.attention ?? view.queries).shape as [number, number];
  const uniform = new Float32Array(heads * count * held);
  // A stream for every layer and part, so that no two draws are alike.
  new Random(seed, layer * 2 ** 20 + length + step).fillUniform(uniform);
  const within = tf.clipByValue(tf.tensor3d(uniform, [heads, count, held]), 2 ** -24, 1 - 2 ** -24);
  return tf.neg(tf.log(tf.neg(tf.log(within))));
});
