import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../../runtime/tf.ts";
import { type Block, normalise } from "../block.ts";
import type { RecurrentMixer } from "./mixer.ts";

/** The hook points of a recurrent layer up to the heads' outputs, in the order of the computation. */
export const RECURRENT_NAMES = [
  ...["ln1.hook_scale", "ln1.hook_normalized", "attn.hook_q", "attn.hook_k", "attn.hook_v"],
] as const;

/** Rows of one length that go through a layer together. */
interface Rows {
  rows: number;
  positions: number;
}

/**
 * The part of a block up to the heads' outputs where a recurrence takes attention's place. Head h has a state S of `state` times d_head
 * numbers; at token t, S <- decay S + step k vᵀ, and it gives z = Sᵀ q / sqrt(state), normalised. All positions are computed together:
 * what is read of token s at token t is weighed by q · k and by the product of the decays from s + 1 to t (Dao and Gu 2024, section 3).
 * @param x residual stream [rows * positions, d_model] @returns z [rows * positions, heads * d_head]
 */
export function recur(x: Tensor, mixer: RecurrentMixer, block: Block, { rows, positions: T }: Rows): Tensor {
  const { weights, config, hook } = block;
  const { n_heads: H, d_head: D, state: N = D, eps } = config;
  const normed = normalise(x, weights.ln1, "ln1", block);
  const projected = convolved(tf.reshape(weights.qkv.apply(normed), [rows, T, -1]), weights.convolution!);
  const heads = (name: "q" | "k" | "v", first: number, width: number): Tensor => {
    const part = tf.slice(projected, [0, 0, first], [rows, T, H * width]);
    const own = hook(`attn.hook_${name}`, tf.reshape(part, [rows * T, H, width]));
    return byHead(own, [rows, T, H, width]);
  };
  const [q, k, v] = [heads("q", 0, N), heads("k", H * N, N), heads("v", 2 * H * N, D)]; // [rows heads, positions, ...]
  const { logDecay, step } = mixer.gates(normed, weights, config);
  const written = step ? tf.mul(v, byHead(step, [rows, T, H, 1])) : v;
  const products = tf.matMul(tf.mul(q, 1 / Math.sqrt(N)), k, false, true); // [rows heads, positions, positions]
  const read = tf.matMul(tf.mul(products, decays(byHead(logDecay, [rows, T, H, 1]))), written); // [rows heads, positions, d_head]
  const z = tf.mul(read, tf.rsqrt(tf.add(tf.mean(tf.square(read), -1, true), eps)));
  return tf.reshape(tf.transpose(tf.reshape(z, [rows, H, T, D]), [0, 2, 1, 3]), [rows * T, H * D]);
}

/** Each number plus a learned combination of it and those at the positions before. @param x [rows, positions, width] @param weights [reach, width] */
function convolved(x: Tensor, weights: Tensor): Tensor {
  const [rows, T, width] = x.shape as [number, number, number];
  const terms = Array.from({ length: Math.min(weights.shape[0]!, T) }, (_, back) => {
    const earlier = tf.pad(tf.slice(x, [0, 0, 0], [rows, T - back, width]), [[0, 0], [back, 0], [0, 0]]); // biome-ignore format: one line
    return tf.mul(earlier, tf.slice(weights, [back, 0], [1, width]));
  });
  return tf.addN([x, ...terms]);
}

/** [rows * positions, heads, width] -> [rows * heads, positions, width] */
function byHead(t: Tensor, [rows, T, H, width]: readonly [number, number, number, number]): Tensor {
  return tf.reshape(tf.transpose(tf.reshape(t, [rows, T, H, width]), [0, 2, 1, 3]), [rows * H, T, width]);
}

/**
 * The share of what position s wrote that is left at position t, 0 for later s.
 * @param logDecay [rows * heads, positions, 1] @returns [rows * heads, t, s]
 */
function decays(logDecay: Tensor): Tensor {
  const T = logDecay.shape[1]!;
  const reached = tf.tensor2d(
    Array.from({ length: T }, (_, t) => Array.from({ length: T }, (_, s) => (s <= t ? 1 : 0))),
  );
  const flat = tf.reshape(logDecay, [-1, T]);
  const total = tf.matMul(flat, reached, false, true); // of all positions up to each [rows * heads, positions]
  const since = tf.sub(tf.expandDims(total, 2), tf.expandDims(total, 1));
  // Towards later positions the difference is positive: its exponential must not overflow before it is masked.
  return tf.mul(tf.exp(tf.minimum(since, 0)), reached);
}
