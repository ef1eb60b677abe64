import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { evenParameters, momentParameter } from "../kinds/parameters.ts";
import { tokenPolicy } from "../kinds/tokens.ts";

/** Keys unlike the mean key. */
export const keydiff = tokenPolicy({
  name: "keydiff",
  title: "Keys unlike the others",
  description:
    "Each KV head keeps the keys that are least like the mean of all its keys, by the cosine: those that tell most apart.",
  source: "Park et al. 2025, KeyDiff: Key Similarity-Based KV Cache Eviction for Long-Context LLM Inference",
  parameters: z.object({ ...evenParameters, ...momentParameter }),
  ofKeys: (keys) => tf.norm(keys, "euclidean", 2),
  score({ keys }, _, norms) {
    const directions = tf.div(keys, tf.expandDims(tf.maximum(norms!, 1e-12), 2));
    const anchor = tf.mean(directions, 1, true); // [KV heads, 1, d_head]
    const length = tf.maximum(tf.norm(anchor, "euclidean", 2), 1e-8); // [KV heads, 1]
    return tf.neg(tf.div(tf.sum(tf.mul(directions, anchor), 2), length));
  },
});
