import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { addedUp, firstOf, received, withLast } from "../attention.ts";
import { evenParameters, kept, momentParameter } from "../kinds/parameters.ts";
import { type LayerView, tokenPolicy } from "../kinds/tokens.ts";

/** Heavy hitters and recent tokens, half of the budget each. */
export const h2o = tokenPolicy({
  name: "h2o",
  title: "Heavy hitters and recent tokens",
  description:
    "Each KV head keeps, in half of its budget, the keys that have received most attention from all queries so far, and in the other " +
    "half the most recent tokens. With when=decode every new token's attention is added, and one token goes.",
  source: "Zhang et al. 2023, H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models",
  parameters: z.object({ ...evenParameters, ...momentParameter }),
  queries: () => ({ of: "all", attends: true }),
  observe: (view, sums) => addedUp(sums, received(view)),
  score(view, params, sums) {
    const budget = kept(params, view.prompt);
    return withRecent(view, sums!, budget - Math.floor(budget / 2));
  },
});

/** Scores with the last tokens above all others. @param recent how many */
export function withRecent({ held }: LayerView, sums: Tensor, recent: number): Tensor {
  const last = Math.min(held, recent);
  if (last === 0) return sums;
  return last === held ? tf.onesLike(sums) : withLast(firstOf(sums, held - last), last);
}
