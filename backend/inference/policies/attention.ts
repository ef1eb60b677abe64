import type { Tensor } from "@tensorflow/tfjs";
import { localWindow } from "../../models/config.ts";
import { softCap } from "../../models/transformer/attention.ts";
import { tf } from "../../runtime/tf.ts";
import type { LayerView } from "./base.ts";

/** Score of keys that a query does not see. */
const UNSEEN = -1e30;

/** Attention scores of a layer's queries, scaled and capped, those of later keys -1e30 [heads, queries, held]. */
export function logitsOf({ config, layer, length, kvHeads, held, keys, positions, queries }: LayerView): Tensor {
  const [heads, count, width] = queries.shape as [number, number, number];
  const grouped = tf.reshape(queries, [kvHeads, (heads / kvHeads) * count, width]);
  const products = tf.mul(tf.matMul(grouped, keys, false, true), config.attn_scale); // [KV heads, group * queries, held]
  const scores = tf.reshape(softCap(products, config.attn_scores_soft_cap), [kvHeads, heads / kvHeads, count, held]);
  const own = tf.reshape(tf.range(length - count, length), [1, 1, count, 1]);
  const distance = tf.sub(own, tf.reshape(positions, [kvHeads, 1, 1, held]));
  const local = localWindow(config, layer) ?? length;
  const seen = tf.logicalAnd(tf.greaterEqual(distance, 0), tf.less(distance, local));
  return tf.reshape(tf.where(tf.broadcastTo(seen, scores.shape), scores, tf.fill(scores.shape, UNSEEN)), [
    heads,
    count,
    held,
  ]);
}

/** A layer's attention pattern [heads, queries, held]. */
export function patternOf(view: LayerView): Tensor {
  return tf.softmax(logitsOf(view));
}

/** Mean over the query heads of each KV head. @param x [heads, held] @returns [KV heads, held] */
export function groupMean(x: Tensor, kvHeads: number): Tensor {
  const [heads, held] = x.shape as [number, number];
  return tf.mean(tf.reshape(x, [kvHeads, heads / kvHeads, held]), 1);
}

/** Scores with the last ones put above all others of the layer. @param scores [KV heads, those before] @param last how many follow */
export function withLast(scores: Tensor, last: number): Tensor {
  return tf.concat([scores, above(scores, last)], 1);
}

/** Scores with the first ones put above all others of the layer. @param scores [KV heads, those behind] */
export function withFirst(scores: Tensor, first: number): Tensor {
  return tf.concat([above(scores, first), scores], 1);
}

/** Scores above all of these [KV heads, count]. */
function above(scores: Tensor, count: number): Tensor {
  return tf.broadcastTo(tf.add(tf.max(scores), 1), [scores.shape[0]!, count]);
}

/** The first keys of a layer's scores. @param scores [KV heads, held] */
export function firstOf(scores: Tensor, count: number): Tensor {
  return tf.slice(scores, [0, 0], [scores.shape[0]!, count]);
}

/** The sum over queries of attention to each key, added to what earlier queries gave. @param sums [KV heads, held before] */
export function addedUp(sums: Tensor | undefined, received: Tensor): Tensor {
  if (!sums) return received;
  const fresh = received.shape[1]! - sums.shape[1]!;
  return tf.add(tf.pad(sums, [[0, 0], [0, fresh]]), received); // biome-ignore format: one line a step
}
