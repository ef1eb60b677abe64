import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../../runtime/tf.ts";

/** Keys of each KV head in clusters. */
export interface Clusters {
  /** By KV head, the cluster of each vector. */
  readonly assign: readonly Int32Array[];
  /** By KV head, the keys that each cluster stands for. */
  readonly sizes: readonly (readonly number[])[];
}

/** The size of a search for clusters. */
export interface Rounds {
  /** Clusters. */
  readonly count: number;
  /** Most rounds. */
  readonly iterations: number;
}

/**
 * Clusters of each KV head's keys by cosine: k-means that begins with the unit keys at (i + 0.5) T / count, and whose centres are their
 * members' mean unit keys, scaled to unit length.
 * @param keys [KV heads, T, d_head]
 * @param weights keys that each vector stands for, by KV head, where these are centroids themselves; default 1
 * @returns with the plain mean keys, `centroids` [KV heads, count, d_head], zeros of an empty cluster
 */
export function cluster(
  keys: Tensor,
  rounds: Rounds,
  weights?: readonly (readonly number[])[],
): Clusters & { centroids: Tensor } {
  const heads = tf.unstack(keys).map((own, g) => clusterHead(own, rounds, weights?.[g]));
  return {
    assign: heads.map(({ assign }) => assign),
    sizes: heads.map(({ sizes }) => sizes),
    centroids: tf.stack(heads.map(({ centroids }) => centroids)),
  };
}

/** The same of one KV head. @param keys [T, d_head] */
function clusterHead(
  keys: Tensor,
  { count, iterations }: Rounds,
  weights: readonly number[] = new Array<number>(keys.shape[0]!).fill(1),
): { assign: Int32Array; sizes: number[]; centroids: Tensor } {
  const T = keys.shape[0]!;
  const unit = unitRows(keys);
  const first = Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * T) / count));
  let centres = tf.gather(unit, tf.tensor1d(first, "int32"));
  let assign: Int32Array | undefined;
  for (let round = 0; round < iterations; round++) {
    const [next, now] = tf.tidy(() => {
      const nearest = tf.argMax(tf.matMul(unit, centres, false, true), 1);
      const own = nearest.dataSync().slice() as Int32Array;
      if (assign?.every((cluster, i) => cluster === own[i])) return [undefined, own];
      const means = unitRows(sumsBy(unit, nearest, count));
      const empty = tf.equal(tf.sum(tf.abs(means), 1, true), 0);
      return [tf.where(tf.broadcastTo(empty, means.shape), centres, means), own];
    }) as [Tensor | undefined, Int32Array];
    assign = now;
    if (!next) break;
    centres.dispose();
    centres = next;
  }
  const sizes = new Array<number>(count).fill(0);
  for (const [i, own] of assign!.entries()) sizes[own]! += weights[i]!;
  const weighted = tf.mul(keys, tf.tensor2d([...weights], [T, 1]));
  const sums = sumsBy(weighted, tf.tensor1d(assign!, "int32"), count);
  return { assign: assign!, sizes, centroids: tf.div(sums, tf.maximum(tf.tensor2d(sizes, [count, 1]), 1)) };
}

/** Sums of the rows of each cluster [count, d]. @param assign int32 [rows] */
function sumsBy(rows: Tensor, assign: Tensor, count: number): Tensor {
  return tf.unsortedSegmentSum(rows, assign as never, count);
}

/** Rows scaled to unit length; zeros stay. */
function unitRows(rows: Tensor): Tensor {
  return tf.div(rows, tf.maximum(tf.norm(rows, 2, 1, true), 1e-12));
}
