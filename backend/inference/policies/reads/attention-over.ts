import type { Tensor } from "@tensorflow/tfjs";
import { softCap } from "../../../models/transformer/attention.ts";
import { tf } from "../../../runtime/tf.ts";
import type { ReadView } from "../kinds/reads.ts";

/**
 * Attention scores of queries of each head over vectors of its KV head, scaled and capped [heads * queries, vectors].
 * @param queries [heads, queries, d_head] @param vectors [KV heads, vectors, d_head]
 */
export function scoresOver(
  { config, kvHeads }: Pick<ReadView, "config" | "kvHeads">,
  queries: Tensor,
  vectors: Tensor,
): Tensor {
  const [heads, count, width] = queries.shape as [number, number, number];
  const products = tf.matMul(tf.reshape(queries, [kvHeads, (heads / kvHeads) * count, width]), vectors, false, true);
  const scores = softCap(tf.mul(products, config.attn_scale), config.attn_scores_soft_cap);
  return tf.reshape(scores, [heads * count, vectors.shape[1]!]);
}

/** Over the KV heads' query heads, of each KV head [KV heads, heads of a group, columns]. @param x [heads, columns] */
export function grouped(x: Tensor, kvHeads: number): Tensor {
  return tf.reshape(x, [kvHeads, x.shape[0]! / kvHeads, x.shape[1]!]);
}

/** The queries of the tokens as one [heads, 1, d_head]: their mean. */
export function meanQuery({ queries, tokens }: ReadView): Tensor {
  return tokens === 1 ? queries : tf.mean(queries, 1, true);
}
