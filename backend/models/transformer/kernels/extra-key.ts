import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../../runtime/tf.ts";
import type { ModelConfig } from "../../config.ts";
import type { ExtraWeights } from "./kernel.ts";

/**
 * Scores of the extra key; undefined where there is none.
 * @param q queries times attn_scale [rows, query, heads, d_head] @returns [rows, heads, query, 1]
 */
export function extraScores(q: Tensor, extra: ExtraWeights | undefined, config: ModelConfig): Tensor | undefined {
  const [rows, queries, heads] = q.shape as [number, number, number];
  if (extra?.keyBias) {
    const products = tf.sum(tf.mul(q, byQueryHead(extra.keyBias, config)), -1, true); // [rows, query, heads, 1]
    return tf.transpose(products, [0, 2, 1, 3]);
  }
  if (extra?.sinkLogit)
    return tf.add(tf.zeros([rows, heads, queries, 1]), tf.reshape(extra.sinkLogit, [1, heads, 1, 1]));
  return undefined;
}

/** The part of the heads' outputs that comes from the extra key [rows, heads, query, d_head]. @param weight of that key [rows, heads, query, 1] */
export function extraOutput(weight: Tensor, value: Tensor, config: ModelConfig): Tensor {
  return tf.mul(weight, tf.reshape(byQueryHead(value, config), [1, config.n_heads, 1, value.shape[1]!]));
}

/** A vector of each key's or value's head for the query heads that share it [heads, width]. @param t [kv heads, width] */
function byQueryHead(t: Tensor, { n_heads: H }: ModelConfig): Tensor {
  const [G, D] = t.shape as [number, number];
  return H === G ? t : tf.reshape(tf.tile(tf.reshape(t, [G, 1, D]), [1, H / G, 1]), [H, D]);
}
