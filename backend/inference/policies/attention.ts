import type { Tensor } from "@tensorflow/tfjs";
import { type LineSums, lineSums } from "../../kernels/prompt.ts";
import { kernelsAttend } from "../../models/cache/storage/storages.ts";
import { localWindow } from "../../models/config.ts";
import { softCap } from "../../models/transformer/attention.ts";
import { tf } from "../../runtime/tf.ts";
import type { LayerView } from "./kinds/tokens.ts";

/** Score of keys that a query does not see. */
export const UNSEEN = -1e30;

/** Score of keys that stay in any case. */
const ALWAYS = 3e38;

/** The part of a layer's view that its attention is made of. */
export type Attending = Pick<
  LayerView,
  "config" | "layer" | "length" | "kvHeads" | "held" | "keys" | "positions" | "queries" | "attention" | "step" | "steps"
>;

/** Queries whose patterns are held at a time. */
const TOGETHER = 64;

/**
 * Attention scores of a layer's queries, the last of them at the end of what is held, scaled and capped, those of later keys -1e30.
 * @returns [heads, queries, held]
 */
export function logitsOf({ config, layer, length, kvHeads, held, keys, positions, queries }: Attending): Tensor {
  const [heads, count, width] = queries.shape as [number, number, number];
  const grouped = tf.reshape(queries, [kvHeads, (heads / kvHeads) * count, width]);
  const products = tf.mul(tf.matMul(grouped, keys, false, true), config.attn_scale); // [KV heads, group * queries, held]
  const scores = tf.reshape(softCap(products, config.attn_scores_soft_cap), [kvHeads, heads / kvHeads, count, held]);
  // The last query sees all that is held.
  if (count === 1 && localWindow(config, layer) === undefined) return tf.reshape(scores, [heads, count, held]);
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
export function patternOf(view: Attending): Tensor {
  return view.attention ?? tf.softmax(logitsOf(view));
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

/** Scores above all that there can be [KV heads, count]. */
function above(scores: Tensor, count: number): Tensor {
  const heads = scores.shape[0]!;
  return tf.tensor2d(new Float32Array(heads * count).fill(ALWAYS), [heads, count]);
}

/** The first keys of a layer's scores. @param scores [KV heads, held] */
export function firstOf(scores: Tensor, count: number): Tensor {
  return tf.slice(scores, [0, 0], [scores.shape[0]!, count]);
}

/**
 * Attention that each key receives from a layer's queries, mean over the query heads of each KV head.
 * @param pattern of some of the queries, default their attention [heads, queries, held]
 * @returns [KV heads, held]
 */
export function received(view: LayerView, pattern: (part: Attending) => Tensor = patternOf): Tensor {
  if (view.received && pattern === patternOf) return view.received;
  if (view.attention) return groupMean(tf.sum(pattern(view), 1), view.kvHeads);
  const sums = pattern === patternOf && view.held === view.length ? kernelSums(view) : undefined;
  sums?.byDistance.dispose();
  if (sums) return groupMean(sums.byKey, view.kvHeads);
  const { config, layer, length, kvHeads, held, keys, positions, queries, step, steps } = view;
  const [heads, count, width] = queries.shape as [number, number, number];
  const parts = Array.from({ length: Math.ceil(count / TOGETHER) }, (_, i) => {
    const [first, size] = [i * TOGETHER, Math.min(TOGETHER, count - i * TOGETHER)];
    return tf.tidy(() => {
      const own = tf.slice(queries, [0, first, 0], [heads, size, width]);
      const end = length - count + first + size;
      return tf.sum(
        pattern({ config, layer, length: end, kvHeads, held, keys, positions, queries: own, step, steps }),
        1,
      );
    });
  });
  return groupMean(tf.addN(parts), kvHeads);
}

/** Attention of the last queries over keys of all positions, summed by the kernel; undefined in layers where it does not serve. */
export function kernelSums({
  config,
  layer,
  queries,
  keys,
}: Pick<Attending, "config" | "layer" | "queries" | "keys">): LineSums | undefined {
  if (!kernelsAttend(config) || localWindow(config, layer) !== undefined) return undefined;
  return lineSums({ queries, keys, scale: config.attn_scale, cap: config.attn_scores_soft_cap });
}

/** L2 norms of keys. @param keys [KV heads, keys, d_head] @returns [KV heads, keys] */
export function normsOf(keys: Tensor): Tensor {
  return tf.sqrt(tf.sum(tf.square(keys), 2));
}

/** Sums by key with those of later queries. @param sums [KV heads, held before] @param more [KV heads, held] */
export function addedUp(sums: Tensor | undefined, more: Tensor): Tensor {
  if (!sums) return more;
  const fresh = more.shape[1]! - sums.shape[1]!;
  return tf.add(tf.pad(sums, [[0, 0], [0, fresh]]), more); // biome-ignore format: one line a step
}
