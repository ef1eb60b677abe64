import type { Tensor } from "@tensorflow/tfjs";
import type { Activations } from "../../common/words.ts";
import { type Handle, handleBytes } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { type ModelConfig, outputWidth } from "../config.ts";
import { BLOCK_PARTS, type BlockPart, type BlockWeights, type NormWeights, type WeightPart } from "./block-parts.ts";
import { Matrix } from "./matrix.ts";

/** A layer between the last residual and the output: relu(x · weightᵀ + bias). */
export interface ReadoutLayer {
  /** [out, in] */
  weight: Matrix;
  /** [out] */
  bias: Tensor;
}

/** All weights of a model in the layout that the forward computes with; parameters.ts gives TransformerLens's view. */
export interface Weights {
  /** [d_vocab, d_model]; in a model that reads vectors the map of its inputs [d_model, d_input]. */
  embed: Matrix;
  /** [d_model], in a model that reads vectors. */
  embedBias?: Tensor | undefined;
  /** [n_ctx, d_model], with learned positions. */
  posEmbed?: Matrix | undefined;
  blocks: BlockWeights[];
  lnFinal?: NormWeights | undefined;
  readout?: ReadoutLayer[] | undefined;
  /** Vectors of a bottleneck's codes, head after head [heads * codes, d_model / heads]. */
  codes?: Matrix | undefined;
  /** [outputs, d_model or the last readout layer's width]; the very object of `embed` where the two are tied. */
  unembed: Matrix;
  unembedBias?: Tensor | undefined;
  /** Vectors before the sequence [soft_prompt, d_model]. */
  softPrompt?: Matrix | undefined;
}

const BEFORE_BLOCKS: readonly WeightPart[] = [
  { field: "embed", part: "embed", kind: "matrix", shape: (c) => (c.d_input ? [c.d_model, c.d_input] : [c.d_vocab, c.d_model]), has: () => true },
  { field: "embedBias", part: "embed_bias", kind: "bias", shape: (c) => [c.d_model], has: (c) => c.d_input !== undefined },
  { field: "posEmbed", part: "pos_embed", kind: "matrix", shape: (c) => [c.n_ctx, c.d_model], has: (c) => c.positional_embedding_type === "standard" },
]; // biome-ignore format: a table
const AFTER_BLOCKS: readonly WeightPart[] = [
  { field: "lnFinal", part: "ln_final", kind: "norm", shape: (c) => [c.d_model], has: (c) => c.final_norm && c.normalization_type !== null },
  { field: "codes", part: "codes", kind: "matrix", shape: codesShape, has: (c) => c.bottleneck !== undefined },
]; // biome-ignore format: a table
const READOUT: readonly WeightPart[] = [
  { field: "weight", part: "weight", kind: "matrix", shape: (c, i) => [c.readout_hidden![i]!, readoutWidth(c, i)], has: () => true },
  { field: "bias", part: "bias", kind: "bias", shape: (c, i) => [c.readout_hidden![i]!], has: () => true },
]; // biome-ignore format: a table
const OUTPUT: readonly WeightPart[] = [
  { field: "unembed", part: "unembed", kind: "matrix", shape: (c) => [outputWidth(c), readoutWidth(c)], has: (c) => !c.tie_word_embeddings },
  { field: "unembedBias", part: "unembed_bias", kind: "bias", shape: (c) => [outputWidth(c)], has: (c) => hasReadout(c) || c.d_input !== undefined },
]; // biome-ignore format: a table

/** Behind all others: the initial values of these are the same with and without it. */
const PROMPT: readonly WeightPart[] = [
  { field: "softPrompt", part: "soft_prompt", kind: "matrix", shape: (c) => [c.soft_prompt ?? 0, c.d_model], has: (c) => c.soft_prompt !== undefined },
]; // biome-ignore format: a table

/** Shape of a bottleneck's codes. */
function codesShape({ bottleneck, d_model }: ModelConfig): number[] {
  const { heads, codes } = bottleneck ?? { heads: 1, codes: 0 };
  return [heads * codes, d_model / heads];
}

const hasReadout = ({ readout_hidden = [] }: ModelConfig): boolean => readout_hidden.length > 0;

/** Numbers that go into a readout layer, by default into the unembedding behind the last one. */
function readoutWidth({ readout_hidden = [], d_model }: ModelConfig, index = readout_hidden.length): number {
  return readout_hidden[index - 1] ?? d_model;
}

/** A tensor that a model can have. */
export interface Slot extends Required<Pick<WeightPart, "kind" | "initial">> {
  /** `blocks.0.attn.qkv`, `ln_final.w`: the name of its part in families and in the vector of parameters. */
  readonly name: string;
  /** The name behind its block's or readout layer's prefix. */
  readonly part: string;
  readonly prefix: string;
  /** Of its layer or readout layer, else 0. */
  readonly index: number;
  readonly shape: readonly number[];
  /** As `WeightPart.has`. */
  readonly has: boolean;
}

/** The tensors of models of a config, in the order of the vector of all trainable parameters. */
export function slotsOf(config: ModelConfig): Slot[] {
  const { n_layers, readout_hidden = [], normalization_type } = config;
  const group = (parts: readonly WeightPart[], prefix = "", index = 0): Slot[] =>
    parts.flatMap(({ part, kind, initial = kind === "scale" ? 1 : 0, ...row }) => {
      const slot = { kind, prefix, index, shape: row.shape(config, index), has: row.has(config, index), initial };
      if (kind !== "norm") return [{ ...slot, name: prefix + part, part }];
      const [scale, offset] = [`${part}.w`, `${part}.b`];
      return [
        { ...slot, name: prefix + scale, part: scale, initial: 1 },
        { ...slot, name: prefix + offset, part: offset, has: slot.has && normalization_type === "LN" },
      ];
    });
  return [
    ...group(BEFORE_BLOCKS),
    ...Array.from({ length: n_layers }, (_, layer) => group(BLOCK_PARTS, `blocks.${layer}.`, layer)).flat(),
    ...group(AFTER_BLOCKS),
    ...readout_hidden.flatMap((_, i) => group(READOUT, `readout.${i}.`, i)),
    ...group(OUTPUT),
    ...group(PROMPT),
  ];
}

/** The tensors of a model by the names of `slotsOf`, tied embeddings once. */
export type PartTensors = ReadonlyMap<string, Matrix | Tensor>;

/** A model's weights over the tensors of its parts; without an unembedding it is tied. */
export function weightsOf({ n_layers, readout_hidden = [] }: ModelConfig, tensors: PartTensors): Weights {
  const leaf = ({ part, kind }: WeightPart, prefix: string): Leaf => {
    if (kind !== "norm") return tensors.get(prefix + part);
    const [w, b] = [tensors.get(`${prefix}${part}.w`), tensors.get(`${prefix}${part}.b`)] as (Tensor | undefined)[];
    return w && (b ? { w, b } : { w });
  };
  const group = (parts: readonly WeightPart[], prefix = ""): unknown =>
    Object.fromEntries(parts.map((row) => [row.field, leaf(row, prefix)]).filter(([, held]) => held !== undefined));
  const readout = readout_hidden.map((_, i) => group(READOUT, `readout.${i}.`) as ReadoutLayer);
  const outer = group([...BEFORE_BLOCKS, ...AFTER_BLOCKS, ...OUTPUT, ...PROMPT]) as Omit<Weights, "blocks">;
  return {
    ...outer,
    unembed: outer.unembed ?? outer.embed,
    blocks: Array.from({ length: n_layers }, (_, layer) => group(BLOCK_PARTS, `blocks.${layer}.`) as BlockWeights),
    ...(readout.length > 0 && { readout }),
  };
}

/** The tensors of a model's weights by their parts: the way back from `weightsOf`. */
export function partTensors(weights: Weights): PartTensors {
  const tensors = new Map<string, Matrix | Tensor>();
  const group = (parts: readonly WeightPart[], held: object, prefix = ""): void => {
    for (const { field, part } of parts) {
      const leaf = (held as Record<string, Leaf>)[field];
      const named =
        leaf && "w" in leaf ? Object.entries(leaf).map(([key, t]) => [`${part}.${key}`, t]) : [[part, leaf]];
      for (const [name, tensor] of named) if (tensor) tensors.set(prefix + name, tensor);
    }
  };
  const { embed, unembed, blocks, readout = [], ...rest } = weights;
  group(BEFORE_BLOCKS, weights);
  for (const [layer, block] of blocks.entries()) group(BLOCK_PARTS, block, `blocks.${layer}.`);
  group(AFTER_BLOCKS, weights);
  for (const [i, layer] of readout.entries()) group(READOUT, layer, `readout.${i}.`);
  group(OUTPUT, unembed === embed ? rest : weights);
  group(PROMPT, weights);
  return tensors;
}

/** The tensors of a group of weights in a fixed order, and the way back over other tensors of the same shapes. */
export interface Flat<T> {
  handles: Handle[];
  /** Same key, same layout: a captured function can be shared. */
  key: string;
  /** The kernels multiply with a matrix among them, which XLA cannot compile. */
  packed: boolean;
  /** @param activations of products with packed matrices, default "exact" */
  over(handles: Handle[], activations?: Activations): T;
}

type Leaf = Matrix | Tensor | NormWeights | undefined;

/** Flattens a record of weights for a captured function. */
export function flatten<T extends object>(weights: T): Flat<T> {
  const entries = Object.entries(weights) as [string, Leaf][];
  const handles: Handle[] = [];
  const keys: string[] = [];
  for (const [name, leaf] of entries) {
    if (leaf === undefined) continue;
    if (leaf instanceof Matrix) {
      handles.push(...leaf.parts);
      keys.push(`${name}:${leaf.key}`);
    } else if ("w" in leaf) {
      handles.push(leaf.w, ...(leaf.b ? [leaf.b] : []));
      keys.push(`${name}:${leaf.b ? "LN" : "RMS"}`);
    } else {
      handles.push(leaf);
      keys.push(name);
    }
  }
  const packed = entries.some(([, leaf]) => leaf instanceof Matrix && leaf.packed !== undefined);
  const over = (other: Handle[], activations?: Activations) => rebuild(entries, other, activations) as T;
  return { handles, key: keys.join(";"), packed, over };
}

function rebuild(entries: [string, Leaf][], handles: Handle[], activations?: Activations): object {
  let next = 0;
  const take = (): Handle => handles[next++]!;
  const out: Record<string, Leaf> = {};
  for (const [name, leaf] of entries) {
    if (leaf === undefined) continue;
    if (leaf instanceof Matrix) out[name] = leaf.over(leaf.parts.map(take), activations);
    else if ("w" in leaf) out[name] = { w: take() as Tensor, ...(leaf.b ? { b: take() as Tensor } : {}) };
    else out[name] = take() as Tensor;
  }
  return out;
}

/** Flattens a block's weights by stage, so that each function takes only what it reads. */
export function flattenStages(block: BlockWeights): Readonly<Record<BlockPart["stage"], Flat<BlockWeights>>> {
  const part = (stage: BlockPart["stage"]): Flat<BlockWeights> => {
    const fields = BLOCK_PARTS.filter((row) => row.stage === stage).map(({ field }) => field as keyof BlockWeights);
    return flatten(Object.fromEntries(fields.map((field) => [field, block[field]])) as unknown as BlockWeights);
  };
  return { input: part("input"), attention: part("attention"), output: part("output") };
}

/** The weights of the model's end: norm, readout layers, output. */
export interface EndWeights {
  ln?: NormWeights;
  readout: readonly ReadoutLayer[];
  /** Of a bottleneck. */
  codes?: Matrix;
  unembed: Matrix;
  bias?: Tensor;
}

/** Flattens the weights of the model's end. @param unembed stands in for the model's own, widened say */
export function flattenEnd(weights: Weights, unembed: Matrix = weights.unembed): Flat<EndWeights> {
  const layers = weights.readout ?? [];
  const outer = flatten({
    ...(weights.lnFinal ? { ln: weights.lnFinal } : {}),
    ...(weights.codes ? { codes: weights.codes } : {}),
    unembed,
    ...(weights.unembedBias ? { bias: weights.unembedBias } : {}),
  });
  const hidden = layers.map((layer) => flatten(layer));
  const starts = hidden.map((_, i) =>
    hidden.slice(0, i).reduce((sum, h) => sum + h.handles.length, outer.handles.length),
  );
  return {
    handles: [...outer.handles, ...hidden.flatMap((h) => h.handles)],
    key: [outer, ...hidden].map((f) => f.key).join("|"),
    packed: [outer, ...hidden].some((f) => f.packed),
    over: (handles, activations) => ({
      ...(outer.over(handles, activations) as Omit<EndWeights, "readout">),
      readout: hidden.map((h, i) => h.over(handles.slice(starts[i]!), activations)),
    }),
  };
}

/** All tensors of a model's weights, tied ones once. */
export function weightHandles(weights: Weights): Handle[] {
  const { blocks, unembed, readout = [], ...rest } = weights;
  const outer = unembed === weights.embed ? rest : { ...rest, unembed };
  return [outer, ...blocks, ...readout].flatMap((group) => flatten(group).handles);
}

/** Bytes of a model's weights as they are held. */
export function weightBytes(weights: Weights): number {
  return weightHandles(weights).reduce((sum, handle) => sum + handleBytes(handle), 0);
}

/**
 * A block with its narrow matrices widened, or undefined where none is. `dispose` frees what was widened.
 * @param rows of the products, where only matrices that it pays for are widened
 */
export function widenBlock(
  block: BlockWeights,
  rows = Number.POSITIVE_INFINITY,
): { block: BlockWeights; dispose(): void } | undefined {
  const narrow = Object.entries(block).filter(([, leaf]) => leaf instanceof Matrix && leaf.widensFor(rows)) as [
    string,
    Matrix,
  ][];
  if (narrow.length === 0) return undefined;
  const wide = narrow.map(([name, matrix]) => [name, matrix.dense(tf.tidy(() => matrix.widen()))] as const);
  return { block: { ...block, ...Object.fromEntries(wide) }, dispose: () => disposeAll(wide) };
}

function disposeAll(wide: readonly (readonly [string, Matrix])[]): void {
  for (const [, matrix] of wide) matrix.dispose();
}
