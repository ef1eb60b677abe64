import { type HeadMask, parseMask } from "../../../backend/common/heads/mask.ts";
import type { HeadModel } from "../../../backend/common/heads/model.ts";
import { type HeadScores, parseScores } from "../../../backend/common/heads/scores.ts";
import { llamaTensors } from "../../../backend/exports/checkpoints/llama-checkpoint.ts";
import type { CheckpointInput, NamedTensor } from "../../../backend/exports/index.ts";
import { createPatterns, type SparsePattern } from "../../../backend/heads/patterns.ts";
import type { ModelConfig } from "../../../backend/models/config.ts";

/** A model of four layers with four heads on two KV heads; tests of heads and exports share it. */
export const model: HeadModel = {
  ref: "tiny",
  family: "llama",
  digest: `sha256:${"0".repeat(64)}`,
  layers: 4,
  heads: 4,
  kvHeads: 2,
};

export const config: ModelConfig = {
  n_layers: 4,
  n_heads: 4,
  n_key_value_heads: 2,
  d_model: 12,
  d_head: 6,
  d_mlp: 10,
  n_ctx: 32,
  d_vocab: 11,
  act_fn: "silu",
  gated_mlp: true,
  attn_only: false,
  normalization_type: "RMS",
  eps: 1e-5,
  final_norm: true,
  positional_embedding_type: "rotary",
  rotary_base: 10000,
  rotary_dim: 6,
  tie_word_embeddings: false,
  attn_scale: 1 / Math.sqrt(6),
};

/** Numbers in [-0.5, 0.5) that are the same everywhere (a linear congruential generator). */
export function numbers(count: number, seed: number): Float32Array {
  let state = BigInt(seed + 1);
  return Float32Array.from({ length: count }, () => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffff_ffff_ffff_ffffn;
    return Number(state >> 40n) / 2 ** 24 - 0.5;
  });
}

const table = (columns: number, seed: number, offset = 0.5) =>
  Array.from({ length: 4 }, (_, layer) => [...numbers(columns, seed + layer)].map((value) => value + offset));

const trials = [table(4, 10), table(4, 20), table(4, 30)];

/** A retrieval score (with trials) and a metric over KV heads. One value lies outside [0, 1]. */
export const scores: HeadScores = parseScores(
  {
    format: "headscope.head-scores/1",
    model,
    probe: "retrieval",
    params: { trials: 3 },
    seed: 0,
    metrics: {
      retrieval: {
        axis: "heads",
        values: table(4, 40).map((row, layer) => (layer === 2 ? [1.25, ...row.slice(1)] : row)),
        trials,
      },
      gate: { axis: "kvHeads", values: table(2, 50) },
    },
    summary: {},
  },
  "scores",
);

/** Gates as a training of DuoAttention leaves them, with its arguments. */
export const gates: HeadScores = parseScores(
  {
    format: "headscope.head-scores/1",
    model,
    probe: "duo-attention",
    params: {
      dataset_format: "multiple_passkey",
      lr: 0.02,
      num_steps: 2000,
      reg_weight: 0.05,
      initial_value: 1.0,
      num_passkeys: 10,
      passkey_length: 32,
      min_needle_depth_ratio: 0.05,
      max_needle_depth_ratio: 0.95,
      context_length_min: 1000,
      context_length_max: 32000,
      context_lengths_num_intervals: 50,
      depth_ratio_num_intervals: 1000,
      supervision: "distill",
      threshold: 0.5,
      sink_size: 128,
      recent_size: 256,
    },
    seed: 42,
    metrics: { gate: { axis: "kvHeads", values: table(2, 50) } },
  },
  "gates",
);

const SHAPES = [
  { pattern: "vertical_and_slash", a: 30, b: 800 },
  { pattern: "stream_llm", a: 100, b: 800 },
  { pattern: "block_sparse", a: 8, b: 1 },
  { pattern: "vertical_and_slash", a: 1000, b: 6096 },
] as const;

/** Every shape of sparse pattern in every layer. */
export const patterns = createPatterns(
  model,
  table(4, 60).map((row, layer) =>
    row.map((score, head): SparsePattern => ({ ...SHAPES[(layer + head) % 4]!, score })),
  ),
  { search: "made up" },
);

/** Three retrieval KV heads and five ablated query heads. */
export const mask: HeadMask = parseMask(
  {
    format: "headscope.head-mask/1",
    model,
    kvHeads: [
      ["retrieval", "streaming"],
      ["streaming", "streaming"],
      ["retrieval", "retrieval"],
      ["streaming", "streaming"],
    ],
    heads: [
      ["keep", "keep", "ablate", "keep"],
      ["keep", "keep", "keep", "keep"],
      ["ablate", "ablate", "keep", "ablate"],
      ["keep", "keep", "keep", "ablate"],
    ],
    sink: 4,
    recent: 16,
    source: "user",
  },
  "mask",
);

/** The tiny model's weights, the last tensor first: an export must not depend on the order. */
export function checkpoint(change: (tensor: NamedTensor) => NamedTensor[] = (tensor) => [tensor]): CheckpointInput {
  return {
    model,
    config,
    bos: 1,
    eos: 2,
    async *tensors() {
      for (const [i, { name, shape }] of llamaTensors(config).reverse().entries())
        yield* change({
          name,
          shape,
          data: numbers(
            shape.reduce((product, size) => product * size, 1),
            100 + i,
          ),
        });
    },
  };
}
