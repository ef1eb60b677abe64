import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { firstOf, patternOf, withLast } from "../attention.ts";
import { evenParameters, momentParameter } from "../kinds/parameters.ts";
import { tokenPolicy } from "../kinds/tokens.ts";

/** Keys that the last token attends to, the same tokens for all heads of a layer. */
export const tova = tokenPolicy({
  name: "tova",
  title: "What the last token attends to",
  description:
    "All KV heads of a layer keep the tokens that the last one attends to most, by the mean over the layer's heads. With " +
    "when=decode the least attended one goes at each step.",
  source: "Oren et al. 2024, Transformers are Multi-State RNNs",
  parameters: z.object({ ...evenParameters, ...momentParameter }),
  queries: () => ({ of: 1, attends: true }),
  score(view) {
    const { kvHeads, held } = view;
    const mean = tf.mean(tf.reshape(patternOf(view), [-1, held]), 0, true); // [1, held]
    return withLast(tf.broadcastTo(firstOf(mean, held - 1), [kvHeads, held - 1]), 1);
  },
});
