import type { Tensor, Tensor2D } from "@tensorflow/tfjs";
import { embedRows } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import { attend, attendAmong } from "./attention.ts";
import { type At, attentionInput, blockOutput, normalise, type Rotation, rotate, unembed } from "./block.ts";
import type { ModelConfig } from "./config.ts";
import { type BlockWeights, flattenEnd, type Weights } from "./weights.ts";

/** A hook point where nobody looks. */
const UNHOOKED: At = Object.assign((_: string, activation: Tensor) => activation, { wants: () => false });

/** What a composed forward reads. */
export interface ComposedInput {
  /** Token ids int32 [rows * positions], or vectors [rows * positions, d_input]. */
  read: Tensor;
  rows: number;
  positions: number;
  /** Cosines and sines of the positions, tiled over the rows [rows * positions, 1, rotary_dim], where the model rotates. */
  rotation?: Rotation | undefined;
  /** Whether outputs are wanted at every position, or at the last of each row. */
  scored: "all" | "last";
}

/**
 * The whole forward as one expression of tensors, from the same parts as `forward`: what a training step differentiates.
 * @returns logits [rows * scored, outputs]
 */
export function compose(config: ModelConfig, weights: Weights, input: ComposedInput): Tensor {
  const { rows, positions: T, rotation } = input;
  const { d_model } = config;
  let x = weights.embedBias
    ? tf.add(weights.embed.apply(input.read), weights.embedBias)
    : embedRows(weights.embed.widen(), input.read); // [rows * positions, d_model]
  if (weights.posEmbed) {
    const own = tf.slice(weights.posEmbed.widen(), [0, 0], [T, d_model]);
    x = tf.reshape(tf.add(tf.reshape(x, [rows, T, d_model]), own), [rows * T, d_model]);
  }
  const tokens = { rows, positions: T };
  weights.blocks.forEach((block, l) => {
    const last = input.scored === "last" && l === weights.blocks.length - 1;
    x = last ? lastBlock(x, rotation, block, config, tokens) : wholeBlock(x, rotation, block, config, tokens);
  });
  const end = flattenEnd(weights);
  return unembed(x, end.over(end.handles), config, UNHOOKED);
}

interface Tokens {
  rows: number;
  positions: number;
}

/** A block over all positions. @param x [rows * positions, d_model] @returns alike */
function wholeBlock(
  x: Tensor,
  rotation: Rotation | undefined,
  block: BlockWeights,
  config: ModelConfig,
  { rows, positions: T }: Tokens,
): Tensor {
  const { n_heads: H, n_key_value_heads: G, d_head: D } = config;
  const [q, k, v] = attentionInput(x, rotation, block, config, UNHOOKED);
  const among = {
    q: tf.reshape(q, [rows, T, H, D]),
    k: tf.reshape(k, [rows, T, G, D]),
    v: tf.reshape(v, [rows, T, G, D]),
    position: tf.tensor2d(Array.from({ length: T }, (_, t) => [t])),
    valid: tf.ones([T, 1]),
  };
  const [z] = attendAmong(among, [], config, UNHOOKED);
  return blockOutput(x, tf.reshape(z, [rows * T, H * D]), block, config, UNHOOKED);
}

/**
 * The last block where only the last position's output is wanted: keys and values of all positions, all else of the last.
 * @param x [rows * positions, d_model] @returns [rows, d_model]
 */
function lastBlock(
  x: Tensor,
  rotation: Rotation | undefined,
  block: BlockWeights,
  config: ModelConfig,
  { rows, positions: T }: Tokens,
): Tensor {
  const { n_heads: H, n_key_value_heads: G, d_head: D, d_model } = config;
  const lastOf = (t: Tensor): Tensor => {
    const rest = t.shape.slice(1);
    const all = tf.reshape(t, [rows, T, ...rest]);
    return tf.reshape(tf.slice(all, [0, T - 1, ...rest.map(() => 0)], [rows, 1, ...rest]), [rows, ...rest]);
  };
  const normed = normalise(x, block.ln1, "ln1", config, UNHOOKED);
  const project = (from: Tensor, first: number, heads: number): Tensor => {
    const weight = tf.slice(block.qkv.widen(), [first * D, 0], [heads * D, d_model]);
    const out = tf.matMul(from as Tensor2D, weight as Tensor2D, false, true);
    const biased = block.qkvBias ? tf.add(out, tf.slice(block.qkvBias, [first * D], [heads * D])) : out;
    return tf.reshape(biased, [-1, heads, D]);
  };
  const turn = (t: Tensor, by: Rotation | undefined): Tensor => (by ? rotate(t, by, config) : t);
  const own = rotation && { cos: lastOf(rotation.cos), sin: lastOf(rotation.sin) };
  const keysAndValues = project(normed, H, 2 * G); // [rows * positions, 2 kv heads, d_head]
  const [k, v] = [0, G].map((first) => tf.slice(keysAndValues, [0, first, 0], [rows * T, G, D]));
  const { z } = attend(
    tf.reshape(turn(project(lastOf(normed), 0, H), own), [rows, 1, H, D]),
    tf.reshape(turn(k!, rotation), [rows, T, G, D]),
    tf.reshape(v!, [rows, T, G, D]),
    tf.scalar(0), // the last position attends to all
    config,
    UNHOOKED,
  );
  return blockOutput(lastOf(x), tf.reshape(z, [rows, H * D]), block, config, UNHOOKED);
}
