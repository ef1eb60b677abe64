import type { Tensor } from "@tensorflow/tfjs";
import {
  type BlockShape,
  KernelBlock,
  type KernelMatrix,
  type KernelWeight,
  type KernelWeights,
  takesBlock,
} from "../../kernels/block.ts";
import { hasKernels } from "../../kernels/kernels.ts";
import type { ModelConfig } from "../config.ts";
import type { BlockField, BlockWeights } from "../weights/block-parts.ts";
import { Matrix } from "../weights/matrix.ts";

/**
 * The kernel's name of each weight of a block, of a norm that of its factor; null for one that the kernel does not compute with: a
 * block that has it takes the plain path.
 */
const NAMES: Readonly<Record<BlockField, Exclude<KernelWeight, `${string}Offset`> | null>> = {
  ln1: "ln1", qkv: "qkv", qkvBias: "qkvBias", convolution: null, step: null, stepBias: null, decay: null, qNorm: "qNorm", kNorm: "kNorm", keyBias: null, valueBias: null, sinkLogit: null, o: "o", oBias: "oBias", ln1Post: "ln1Post",
  ln2: "ln2", mlpIn: "mlpIn", mlpInBias: "mlpInBias", mlpOut: "mlpOut", mlpOutBias: "mlpOutBias", ln2Post: "ln2Post",
}; // biome-ignore format: a table

const blocks = new WeakMap<BlockWeights, { config: ModelConfig; block: KernelBlock | undefined }>();

/**
 * The kernel of a block over its own weights, which stay the block's; kept while those live.
 * @returns undefined where the plain path has to serve: without kernels, or for weights and widths that the kernel does not take
 */
export function kernelBlock(weights: BlockWeights, config: ModelConfig): KernelBlock | undefined {
  const known = blocks.get(weights);
  if (known?.config === config) return known.block;
  const block = makeBlock(weights, config);
  blocks.set(weights, { config, block });
  return block;
}

function makeBlock(weights: BlockWeights, config: ModelConfig): KernelBlock | undefined {
  const shape = shapeOf(config);
  const named = hasKernels() && takesBlock(shape) && nameWeights(weights);
  return named ? new KernelBlock(shape, named) : undefined;
}

function shapeOf(config: ModelConfig): BlockShape {
  return {
    heads: config.n_heads,
    kvHeads: config.n_key_value_heads,
    width: config.d_head,
    rotary: config.positional_embedding_type === "rotary" ? config.rotary_dim : 0,
    mlp: config.attn_only ? 0 : config.d_mlp,
    norm: config.normalization_type,
    act: config.act_fn,
    gated: config.gated_mlp,
    parallel: config.parallel_attn_mlp === true,
    normsAll: config.qk_norm === "all",
    eps: config.eps,
    scale: config.attn_scale,
    cap: config.attn_scores_soft_cap,
  };
}

/** Weights by the kernel's names; undefined where one of them has none, or is held in a way that the kernel does not read. */
function nameWeights(weights: BlockWeights): KernelWeights | undefined {
  const named: Record<string, KernelMatrix> = {};
  for (const [field, weight] of Object.entries(weights)) {
    if (weight === undefined) continue;
    const name = NAMES[field as BlockField] ?? undefined;
    const held = weight instanceof Matrix ? matrixOf(weight) : "w" in weight ? weight.w : (weight as Tensor);
    if (!name || !held) return undefined;
    named[name] = held;
    if ("w" in weight && weight.b) named[`${name}Offset`] = weight.b;
  }
  return named;
}

function matrixOf(matrix: Matrix): KernelMatrix | undefined {
  return matrix.packed ?? (matrix.narrow ? undefined : (matrix.parts[0] as Tensor));
}
