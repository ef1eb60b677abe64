import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { addedUp, received } from "../attention.ts";
import { evenParameters } from "../kinds/parameters.ts";
import { tokenPolicy } from "../kinds/tokens.ts";

/** Keys that the whole prompt attends to. */
export const observedAttention = tokenPolicy({
  name: "observed-attention",
  title: "What the whole prompt attends to",
  description:
    "Each KV head keeps the keys that receive most attention from all queries of the prompt, by the mean over those that see the key. " +
    "It is H2O at the end of a prompt, without the half for recent tokens.",
  source: "kvpress, ObservedAttentionPress, after Zhang et al. 2023, H2O",
  parameters: z.object(evenParameters),
  queries: () => ({ of: "all" }),
  observe: (view, sums) => addedUp(sums, received(view)),
  score({ length, positions }, _, sums) {
    return tf.div(sums!, tf.sub(length, positions)); // as many queries see the key
  },
});
