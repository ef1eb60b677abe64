import type { Tensor } from "@tensorflow/tfjs";
import { embedRows } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import { attendAmong } from "./attention.ts";
import { type At, attentionInput, blockOutput, type Rotation, unembed } from "./block.ts";
import type { ModelConfig } from "./config.ts";
import { flattenEnd, type Weights } from "./weights.ts";

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
  const { n_heads: H, n_key_value_heads: G, d_head: D, d_model } = config;
  let x = weights.embedBias
    ? tf.add(weights.embed.apply(input.read), weights.embedBias)
    : embedRows(weights.embed.widen(), input.read); // [rows * positions, d_model]
  if (weights.posEmbed) {
    const own = tf.slice(weights.posEmbed.widen(), [0, 0], [T, d_model]);
    x = tf.reshape(tf.add(tf.reshape(x, [rows, T, d_model]), own), [rows * T, d_model]);
  }
  const position = tf.tensor2d(Array.from({ length: T }, (_, t) => [t]));
  const valid = tf.ones([T, 1]);
  for (const block of weights.blocks) {
    const [q, k, v] = attentionInput(x, rotation, block, config, UNHOOKED);
    const [z] = attendAmong(
      {
        q: tf.reshape(q, [rows, T, H, D]),
        k: tf.reshape(k, [rows, T, G, D]),
        v: tf.reshape(v, [rows, T, G, D]),
        position,
        valid,
      },
      [],
      config,
      UNHOOKED,
    );
    x = blockOutput(x, tf.reshape(z, [rows * T, H * D]), block, config, UNHOOKED);
  }
  const end = flattenEnd(weights);
  const last =
    input.scored === "last"
      ? tf.reshape(tf.slice(tf.reshape(x, [rows, T, d_model]), [0, T - 1, 0], [rows, 1, d_model]), [rows, d_model])
      : x;
  return unembed(last, end.over(end.handles), config, UNHOOKED);
}
