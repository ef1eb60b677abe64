import type { Tensor } from "@tensorflow/tfjs";
import type { ModelConfig } from "../../models/config.ts";
import type { PrefillInputs } from "../../models/transformer/attention.ts";
import { attentionInput, type Block, blockOutput, type Rotation } from "../../models/transformer/block.ts";
import { tf } from "../../runtime/tf.ts";

/** Tokens of a layer as its gates see them: queries, keys and values, and the stream that they come from. */
export interface GatedInputs extends PrefillInputs {
  /** Residual stream before the block [rows, tokens, d_model]. */
  stream: Tensor;
  /** 1 for tokens of the prompt, 0 for those behind it [tokens]; where the gates tell them apart. */
  prompt?: Tensor | undefined;
}

/** The attention of a gated layer. */
export interface GatedOutput {
  /** [rows, tokens, heads, d_head] */
  z: Tensor;
  /** Number that is added to the loss for this layer; default none. */
  penalty?: Tensor;
}

/** Attention that trained numbers change, as an expression of tensors that a gradient goes back through. */
export interface GatedAttention {
  /** Identity, settings included: captured functions are found by it. */
  readonly key: string;
  /** @param gates trained tensors of the layer */
  attend(inputs: GatedInputs, gates: readonly Tensor[], config: ModelConfig): GatedOutput;
}

/** Tokens of several rows of one length that go through a gated block. */
export interface GatedTokens {
  rows: number;
  /** Of a row. */
  positions: number;
  /** Keys that a query reaches, its own included, in a layer of local attention. */
  local?: number | undefined;
  rotation?: Rotation | undefined;
  /** As `GatedInputs` has it. */
  prompt?: Tensor | undefined;
}

/** A gated block: the model's own, whose attention is another. */
export interface GatedBlock extends Block {
  attention: GatedAttention;
}

/**
 * A block over all positions whose attention goes through gates.
 * @param x residual stream before it [rows * positions, d_model] @param gates trained tensors of the layer
 * @returns the stream behind it, alike, and the layer's penalty where there is one
 */
export function gatedBlock(
  x: Tensor,
  gates: readonly Tensor[],
  { attention, ...block }: GatedBlock,
  { rows, positions: T, local, rotation, prompt }: GatedTokens,
): { y: Tensor; penalty: Tensor | undefined } {
  const { config } = block;
  const { n_heads: H, n_key_value_heads: G, d_head: D } = config;
  const [q, k, v] = attentionInput(x, rotation, block);
  const inputs = {
    stream: tf.reshape(x, [rows, T, -1]),
    q: tf.reshape(q, [rows, T, H, D]),
    k: tf.reshape(k, [rows, T, G, D]),
    v: tf.reshape(v, [rows, T, G, D]),
    position: tf.tensor2d(Array.from({ length: T }, (_, t) => [t])),
    valid: tf.ones([T, 1]),
    extra: block.weights,
    local,
    prompt,
  };
  const { z, penalty } = attention.attend(inputs, gates, config);
  return { y: blockOutput(x, tf.reshape(z, [rows * T, H * D]), block), penalty };
}
