import type { Tensor } from "@tensorflow/tfjs";
import { headShape, type ModelConfig, mixerOf } from "../config.ts";
import { kernelOf } from "../transformer/kernels/index.ts";
import type { ExtraWeights } from "../transformer/kernels/kernel.ts";
import { recurrenceOf } from "../transformer/mixers/index.ts";
import type { GateWeights } from "../transformer/mixers/mixer.ts";
import type { Matrix } from "./matrix.ts";

/** Scale and, for layer norm, offset of a normalisation: [d_model] each. */
export interface NormWeights {
  w: Tensor;
  b?: Tensor | undefined;
}

/** One weight of a model. */
export interface WeightPart {
  /** Its property among the weights of its block or model. */
  readonly field: string;
  /** Its name in families and files, inside its block; the tensors of a norm are `{part}.w` and, for layer norm, `{part}.b`. */
  readonly part: string;
  /**
   * A matrix is [out, in] and can be held in fewer bits; a bias is that of the matrix with its field's name before "Bias"; a
   * scale is the factor of a norm that has nothing else.
   */
  readonly kind: "matrix" | "bias" | "norm" | "scale" | "vector";
  /** @param index of the layer or the readout layer, for their weights */
  shape(config: ModelConfig, index: number): readonly number[];
  /** Tells whether a model that is made here has it. One from a checkpoint has the biases that its file holds. */
  has(config: ModelConfig, index: number): boolean;
  /** Value of a vector in which training begins, default 0. */
  readonly initial?: number;
}

/** A row of `BLOCK_PARTS`: one weight of a block. */
export interface BlockPart extends WeightPart {
  /** The stage of the block that reads it: up to queries, keys and values, attention itself, or from the heads' outputs on. */
  readonly stage: "input" | "attention" | "output";
  /** Every block of every model has it. */
  readonly always?: true;
}

const norms = ({ normalization_type, norm_placement = "pre" }: ModelConfig, place: "pre" | "post"): boolean =>
  normalization_type !== null && (norm_placement === place || norm_placement === "both");
const hasMlp = ({ attn_only }: ModelConfig): boolean => !attn_only;
const hasMlpBias = ({ attn_only, gated_mlp }: ModelConfig): boolean => !attn_only && !gated_mlp;
const hasAttention = (c: ModelConfig, layer: number): boolean => mixerOf(c, layer) === "attention";
const hasHeadNorms = (c: ModelConfig, layer: number): boolean => c.qk_norm !== undefined && hasAttention(c, layer);
const model = ({ d_model }: ModelConfig): number[] => [d_model];
/** Queries, then keys, then values, each a head after the other. */
function projected(config: ModelConfig, layer: number): number {
  const { queries, keys, values, keyWidth, valueWidth } = headShape(config, layer);
  return (queries + keys) * keyWidth + values * valueWidth;
}
/** The gate's rows, then the linear ones; without gate the linear ones alone. */
const hidden = ({ gated_mlp, d_mlp }: ModelConfig): number => (gated_mlp ? 2 : 1) * d_mlp;
/** Of each query's or key's head, or of all heads as one vector. */
const heads = (c: ModelConfig, of: "queries" | "keys"): number[] => {
  const { [of]: count, keyWidth } = headShape(c);
  return [c.qk_norm === "all" ? count * keyWidth : keyWidth];
};

const hasExtra =
  (part: keyof ExtraWeights) =>
  (c: ModelConfig, layer: number): boolean =>
    hasAttention(c, layer) && kernelOf(c).extra?.includes(part) === true;
const isRecurrent = (c: ModelConfig, layer: number): boolean => !hasAttention(c, layer);
const hasGate =
  (part: Exclude<keyof GateWeights, "decay">) =>
  (c: ModelConfig, layer: number): boolean =>
    recurrenceOf(c, layer)?.gateWeights.includes(part) === true;
/** Positions that a recurrent layer's short convolution reaches, a token's own included (Mamba's d_conv). */
const CONVOLUTION = 4;
/** The step with which a selective layer begins: softplus(-4) = 0.018. */
const FIRST_STEP = -4;
const byKeyHead = (c: ModelConfig): number[] => {
  const { keys, keyWidth } = headShape(c);
  return [keys, keyWidth];
};
const byValueHead = (c: ModelConfig): number[] => {
  const { values, valueWidth } = headShape(c);
  return [values, valueWidth];
};

const ROWS = [
  { field: "ln1", part: "ln1", kind: "norm", stage: "input", shape: model, has: (c) => norms(c, "pre") },
  { field: "qkv", part: "attn.qkv", kind: "matrix", stage: "input", shape: (c, l) => [projected(c, l), c.d_model], has: () => true, always: true },
  { field: "qkvBias", part: "attn.qkv_bias", kind: "bias", stage: "input", shape: (c, l) => [projected(c, l)], has: () => false },
  { field: "convolution", part: "attn.convolution", kind: "vector", stage: "input", shape: (c, l) => [CONVOLUTION, projected(c, l)], has: isRecurrent },
  { field: "step", part: "attn.step", kind: "matrix", stage: "input", shape: (c) => [c.n_heads, c.d_model], has: hasGate("step") },
  { field: "stepBias", part: "attn.step_bias", kind: "vector", stage: "input", shape: (c) => [c.n_heads], has: hasGate("stepBias"), initial: FIRST_STEP },
  { field: "decay", part: "attn.decay", kind: "vector", stage: "input", shape: (c) => [c.n_heads], has: isRecurrent },
  { field: "qNorm", part: "attn.q_norm.w", kind: "scale", stage: "input", shape: (c) => heads(c, "queries"), has: hasHeadNorms },
  { field: "kNorm", part: "attn.k_norm.w", kind: "scale", stage: "input", shape: (c) => heads(c, "keys"), has: hasHeadNorms },
  { field: "keyBias", part: "attn.key_bias", kind: "vector", stage: "attention", shape: byKeyHead, has: hasExtra("keyBias") },
  { field: "valueBias", part: "attn.value_bias", kind: "vector", stage: "attention", shape: byValueHead, has: hasExtra("valueBias") },
  { field: "sinkLogit", part: "attn.sink_logit", kind: "vector", stage: "attention", shape: (c) => [c.n_heads], has: hasExtra("sinkLogit") },
  { field: "o", part: "attn.o", kind: "matrix", stage: "output", shape: (c) => [c.d_model, c.n_heads * headShape(c).valueWidth], has: () => true, always: true },
  { field: "oBias", part: "attn.o_bias", kind: "bias", stage: "output", shape: model, has: () => false },
  { field: "ln1Post", part: "ln1_post", kind: "norm", stage: "output", shape: model, has: (c) => norms(c, "post") },
  { field: "ln2", part: "ln2", kind: "norm", stage: "output", shape: model, has: (c) => hasMlp(c) && norms(c, "pre") },
  { field: "mlpIn", part: "mlp.in", kind: "matrix", stage: "output", shape: (c) => [hidden(c), c.d_model], has: hasMlp },
  { field: "mlpInBias", part: "mlp.in_bias", kind: "bias", stage: "output", shape: (c) => [hidden(c)], has: hasMlpBias },
  { field: "mlpOut", part: "mlp.out", kind: "matrix", stage: "output", shape: (c) => [c.d_model, c.d_mlp], has: hasMlp },
  { field: "mlpOutBias", part: "mlp.out_bias", kind: "bias", stage: "output", shape: model, has: hasMlpBias },
  { field: "ln2Post", part: "ln2_post", kind: "norm", stage: "output", shape: model, has: (c) => hasMlp(c) && norms(c, "post") },
] as const satisfies readonly BlockPart[]; // biome-ignore format: a table

/**
 * The weights of a block, in the order of the vector of all trainable parameters. Reading, training, saving, exporting,
 * TransformerLens's names and the split of a block into two functions follow from a row: docs/add-a-weight.md.
 */
export const BLOCK_PARTS: readonly BlockPart[] = ROWS;

type Row = (typeof ROWS)[number];
type Constant = Extract<Row, { always: true }>;
type Held<K extends WeightPart["kind"]> = K extends "matrix" ? Matrix : K extends "norm" ? NormWeights : Tensor;

/** Name of a block's weight in `BlockWeights`. */
export type BlockField = Row["field"];

/** The weights of one block: the fields of `BLOCK_PARTS`. */
export type BlockWeights = { [R in Constant as R["field"]]: Held<R["kind"]> } & {
  [R in Exclude<Row, Constant> as R["field"]]?: Held<R["kind"]> | undefined;
};
