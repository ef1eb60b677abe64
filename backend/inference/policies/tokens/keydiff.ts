import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { normsOf } from "../attention.ts";
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
  ofKeys: normsOf,
  score({ keys, held }, _, norms) {
    // Directions are keys times these: none is written out.
    const scales = tf.expandDims(tf.reciprocal(tf.maximum(norms!, 1e-12)), 1); // [KV heads, 1, held]
    const anchor = tf.matMul(tf.div(scales, held), keys); // [KV heads, 1, d_head]: the mean direction
    const length = tf.maximum(normsOf(anchor), 1e-8); // [KV heads, 1]
    const products = tf.mul(tf.matMul(anchor, keys, false, true), scales); // [KV heads, 1, held]
    return tf.neg(tf.div(tf.squeeze(products, [1]), length));
  },
});
