import type { Tensor } from "@tensorflow/tfjs";
import { afterEach, beforeEach, expect } from "vitest";

import { Random } from "../../backend/common/random.ts";
import type { ModelConfig } from "../../backend/models/config.ts";
import { Model } from "../../backend/models/model.ts";
import { type ParameterPlace, parameterLayout, weightsOver } from "../../backend/models/weights/trainable.ts";
import { tf } from "../../backend/runtime/tf.ts";

/** A small Llama-shaped config: 3 layers, 6 query heads on 2 key-value heads. */
export function smallConfig(changes: Partial<ModelConfig> = {}): ModelConfig {
  const base: ModelConfig = {
    n_layers: 3, n_heads: 6, n_key_value_heads: 2, d_model: 48, d_head: 8, d_mlp: 64, n_ctx: 1200, d_vocab: 96,
    act_fn: "silu", gated_mlp: true, attn_only: false, normalization_type: "RMS", eps: 1e-5, final_norm: true,
    positional_embedding_type: "rotary", rotary_base: 10000, rotary_dim: 8, tie_word_embeddings: true, attn_scale: 1 / Math.sqrt(8),
  }; // biome-ignore format: a table
  return { ...base, ...changes };
}

/** The order in which weights are drawn: blocks first, the matrices of an MLP behind its norms. */
function drawingOrder({ name }: ParameterPlace): number {
  const [, layer, mlp] = /^blocks\.(\d+)\.(mlp)?/.exec(name) ?? [];
  return layer === undefined ? Number.MAX_SAFE_INTEGER : 2 * Number(layer) + (mlp ? 1 : 0);
}

/** A model of this config with seeded random weights, large enough that attention is far from uniform, and no biases. */
export function randomModel(config: ModelConfig, seed = 1): Model {
  const random = new Random(seed);
  const gains: Record<string, number> = {
    qkv: 2.5,
    embed: Math.sqrt(config.d_model),
    pos_embed: Math.sqrt(config.d_model),
  };
  const drawn = ({ name, kind, shape, size }: ParameterPlace): Tensor => {
    const mean = kind === "matrix" || name.endsWith(".b") ? 0 : kind === "scale" ? 1.5 : 1;
    const scale = kind === "matrix" ? (gains[name.split(".").at(-1)!] ?? 1.5) / Math.sqrt(shape[1]!) : 0.2;
    return tf.tensor(
      Float32Array.from({ length: size }, () => mean + scale * random.normal()),
      [...shape],
    );
  };
  const places = parameterLayout(config).filter(({ kind }) => kind !== "bias");
  const sorted = places.toSorted((a, b) => drawingOrder(a) - drawingOrder(b));
  return new Model({
    ref: "random",
    family: "llama",
    digest: `sha256:${"0".repeat(63)}${seed}`,
    config,
    weights: weightsOver(config, sorted, drawn),
  });
}

/** Seeded rows of token ids. */
export function randomTokens(rows: number, length: number, d_vocab: number, seed = 7): number[][] {
  const random = new Random(seed);
  return Array.from({ length: rows }, () => Array.from({ length }, () => random.integer(0, d_vocab)));
}

/** Largest absolute difference of two tensors of one shape. */
export function maxDifference(
  a: { dataSync(): ArrayLike<number>; shape: number[] },
  b: { dataSync(): ArrayLike<number>; shape: number[] },
): number {
  if (a.shape.join() !== b.shape.join()) throw new Error(`shapes differ: ${a.shape} and ${b.shape}`);
  const [x, y] = [a.dataSync(), b.dataSync()];
  let worst = 0;
  for (let i = 0; i < x.length; i++) worst = Math.max(worst, Math.abs(x[i]! - y[i]!));
  return worst;
}
/** Insists, after each test of a file, that it has left no tensor behind. */
export function leavesNoTensors(): void {
  let before = 0;
  beforeEach(() => {
    before = tf.memory().numTensors;
  });
  afterEach(() => expect(tf.memory().numTensors).toBe(before));
}
