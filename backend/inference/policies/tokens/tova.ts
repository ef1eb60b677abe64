import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { firstOf, received, withLast } from "../attention.ts";
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
    const sums = tf.sum(received(view), 0, true); // [1, held]: they rank as the mean over all heads does
    return withLast(tf.tile(firstOf(sums, held - 1), [kvHeads, 1]), 1);
  },
});
