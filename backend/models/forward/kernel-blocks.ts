import type { Tensor } from "@tensorflow/tfjs";
import {
  type BlockShape,
  KernelBlocks,
  type KernelMatrix,
  type KernelWeight,
  type KernelWeights,
  takesBlock,
} from "../../kernels/blocks.ts";
import { hasKernels } from "../../kernels/kernels.ts";
import { localWindow, type ModelConfig } from "../config.ts";
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

const named = new WeakMap<BlockWeights, { config: ModelConfig; weights: KernelWeights | undefined }>();

/** Kernels by the first of their blocks and their number. */
const kernels = new WeakMap<
  BlockWeights,
  Map<number, { config: ModelConfig; blocks: readonly BlockWeights[]; kernel: KernelBlocks }>
>();

/** Says that the kernel computes a block; without kernels, and for weights and widths that it does not take, the plain path has to serve. */
export function takesWeights(block: BlockWeights, config: ModelConfig): boolean {
  return weightsFor(block, config) !== undefined;
}

/**
 * The kernel of blocks that follow each other, over their own weights, which stay the blocks'; kept while those live.
 * @param first layer of the first block
 * @returns undefined where the kernel does not compute one of them
 */
export function kernelBlocks(
  blocks: readonly BlockWeights[],
  config: ModelConfig,
  first: number,
): KernelBlocks | undefined {
  const byCount = kernels.get(blocks[0]!) ?? new Map();
  kernels.set(blocks[0]!, byCount);
  const known = byCount.get(blocks.length);
  if (known?.config === config && blocks.every((block, i) => block === known.blocks[i])) return known.kernel;
  const works = blocks.flatMap((block, i) => {
    const weights = weightsFor(block, config);
    return weights ? { weights, local: localWindow(config, first + i) !== undefined } : [];
  });
  if (works.length < blocks.length) return undefined;
  const kernel = new KernelBlocks(shapeOf(config), works);
  byCount.set(blocks.length, { config, blocks, kernel });
  return kernel;
}

/** A block's weights by the kernel's names; undefined where the kernel does not compute it. */
function weightsFor(block: BlockWeights, config: ModelConfig): KernelWeights | undefined {
  const known = named.get(block);
  if (known?.config === config) return known.weights;
  const weights = hasKernels() && takesBlock(shapeOf(config)) ? nameWeights(block) : undefined;
  named.set(block, { config, weights });
  return weights;
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
