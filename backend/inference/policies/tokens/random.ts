import { z } from "zod";
import { Random } from "../../../common/random.ts";
import { tf } from "../../../runtime/tf.ts";
import { evenParameters } from "../kinds/parameters.ts";
import { tokenPolicy } from "../kinds/tokens.ts";

/** Any tokens: the control. */
export const random = tokenPolicy({
  name: "random",
  title: "Any tokens (the control)",
  description: "Each KV head keeps tokens drawn at random. A policy that does no better than this has chosen nothing.",
  source: "headscope",
  parameters: z.object({ ...evenParameters, seed: z.int().min(0).default(0).describe("of the draw") }),
  score({ kvHeads, held, layer }, { seed }) {
    const scores = new Float32Array(kvHeads * held);
    new Random(seed, layer).fillUniform(scores);
    return tf.tensor2d(scores, [kvHeads, held]);
  },
});
