import type { Tensor } from "@tensorflow/tfjs";
import { unknownName } from "../../common/errors.ts";
import { type Handle, handleBytes } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { configOf, type ModelConfig, outputWidth } from "../config.ts";
import { BLOCK_PARTS, type BlockPart, type BlockWeights, type NormWeights } from "./block-parts.ts";
import { Matrix } from "./matrix.ts";

/** A layer between the last residual and the output: relu(x · weightᵀ + bias). */
export interface ReadoutLayer {
  /** [out, in] */
  weight: Matrix;
  /** [out] */
  bias: Tensor;
}

/** All weights of a model in the layout that the forward computes with; `parameter` gives TransformerLens's view of them. */
export interface Weights {
  /** [d_vocab, d_model]; in a model that reads vectors the map of its inputs [d_model, d_input]. */
  embed: Matrix;
  /** [d_model], in a model that reads vectors. */
  embedBias?: Tensor;
  /** [n_ctx, d_model], with learned positions. */
  posEmbed?: Matrix;
  blocks: BlockWeights[];
  lnFinal?: NormWeights;
  readout?: ReadoutLayer[];
  /** [outputs, d_model or the last readout layer's width]; the very object of `embed` where the two are tied. */
  unembed: Matrix;
  unembedBias?: Tensor;
}

/** The tensors of a group of weights in a fixed order, and the way back over other tensors of the same shapes. */
export interface Flat<T> {
  handles: Handle[];
  /** Same key, same layout: a captured function can be shared. */
  key: string;
  over(handles: Handle[]): T;
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
  return { handles, key: keys.join(";"), over: (other) => rebuild(entries, other) as T };
}

function rebuild(entries: [string, Leaf][], handles: Handle[]): object {
  let at = 0;
  const take = (): Handle => handles[at++]!;
  const out: Record<string, Leaf> = {};
  for (const [name, leaf] of entries) {
    if (leaf === undefined) continue;
    if (leaf instanceof Matrix) out[name] = leaf.over(leaf.parts.map(take));
    else if ("w" in leaf) out[name] = { w: take() as Tensor, ...(leaf.b ? { b: take() as Tensor } : {}) };
    else out[name] = take() as Tensor;
  }
  return out;
}

/** Flattens a block's weights by stage, so that the function of either half takes only what it reads. */
export function flattenStages(block: BlockWeights): Readonly<Record<BlockPart["stage"], Flat<BlockWeights>>> {
  const half = (stage: BlockPart["stage"]): Flat<BlockWeights> => {
    const fields = BLOCK_PARTS.filter((row) => row.stage === stage).map(({ field }) => field as keyof BlockWeights);
    return flatten(Object.fromEntries(fields.map((field) => [field, block[field]])) as unknown as BlockWeights);
  };
  return { input: half("input"), output: half("output") };
}

/** The weights of the model's end: norm, readout layers, output. */
export interface EndWeights {
  ln?: NormWeights;
  readout: readonly ReadoutLayer[];
  unembed: Matrix;
  bias?: Tensor;
}

/** Flattens the weights of the model's end. @param unembed stands in for the model's own, widened say */
export function flattenEnd(weights: Weights, unembed: Matrix = weights.unembed): Flat<EndWeights> {
  const layers = weights.readout ?? [];
  const outer = flatten({
    ...(weights.lnFinal ? { ln: weights.lnFinal } : {}),
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
    over: (handles) => ({
      ...(outer.over(handles) as Omit<EndWeights, "readout">),
      readout: hidden.map((h, i) => h.over(handles.slice(starts[i]!))),
    }),
  };
}

/** All tensors of a model's weights, tied ones once. */
export function weightHandles(weights: Weights): Handle[] {
  const { blocks, unembed, readout = [], ...rest } = weights;
  const outer = unembed === weights.embed ? rest : { ...rest, unembed };
  return [outer, ...blocks, ...readout].flatMap((group) => flatten(group).handles);
}

/** Names of a model's parameters as TransformerLens has them. @param model or its config */
export function parameterNames(model: ModelConfig | { readonly config: ModelConfig }): string[] {
  const config = configOf(model);
  const names = [
    "embed.W_E",
    ...(config.d_input ? ["embed.b_E"] : []),
    ...(config.positional_embedding_type === "standard" ? ["pos_embed.W_pos"] : []),
  ];
  const norm = (prefix: string): string[] =>
    config.normalization_type === null
      ? []
      : [`${prefix}.w`, ...(config.normalization_type === "LN" ? [`${prefix}.b`] : [])];
  const placement = config.norm_placement ?? "pre";
  const before = (prefix: string): string[] => (placement === "post" ? [] : norm(prefix));
  const after = (prefix: string): string[] => (placement === "pre" ? [] : norm(prefix));
  for (let l = 0; l < config.n_layers; l++) {
    const block = `blocks.${l}`;
    names.push(
      ...before(`${block}.ln1`),
      ...["W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O"].map((p) => `${block}.attn.${p}`),
      ...(config.qk_norm ? [`${block}.attn.q_norm.w`, `${block}.attn.k_norm.w`] : []),
      ...after(`${block}.ln1_post`),
    );
    if (config.attn_only) continue;
    const mlp = config.gated_mlp ? ["W_gate", "W_in", "W_out", "b_in", "b_out"] : ["W_in", "W_out", "b_in", "b_out"];
    names.push(...before(`${block}.ln2`), ...mlp.map((p) => `${block}.mlp.${p}`), ...after(`${block}.ln2_post`));
  }
  const readout = (config.readout_hidden ?? []).flatMap((_, i) => [`readout.${i}.W`, `readout.${i}.b`]);
  return [...names, ...(config.final_norm ? norm("ln_final") : []), ...readout, "unembed.W_U", "unembed.b_U"];
}

/**
 * A parameter in TransformerLens's shape, as a new tensor that the caller disposes: W_Q [heads, d_model, d_head],
 * W_K and W_V [kv heads, d_model, d_head], W_O [heads, d_head, d_model], MLP matrices [in, out], W_E [d_vocab, d_model],
 * W_U [d_model, outputs]. Biases that the model lacks are zeros. Of a model that reads vectors W_E is [d_input, d_model];
 * readout layers are readout.{i}.W [in, out] and .b.
 * @throws HeadscopeError (usage) for a name that the model does not have
 */
export function parameter(model: { config: ModelConfig; weights: Weights }, name: string): Tensor {
  const { config, weights } = model;
  if (!parameterNames(config).includes(name)) throw unknownName("parameter", name, parameterNames(config));
  return tf.tidy(() => {
    const block = /^blocks\.(\d+)\.(\w+)\.([\w.]+)$/.exec(name);
    if (block) return tf.clone(blockParameter(config, weights.blocks[Number(block[1])]!, block[2]!, block[3]!));
    if (name === "embed.W_E")
      return config.d_input ? tf.transpose(weights.embed.widen()) : tf.clone(weights.embed.widen());
    if (name === "embed.b_E") return tf.clone(weights.embedBias!);
    const layer = /^readout\.(\d+)\.(W|b)$/.exec(name);
    if (layer) {
      const { weight, bias } = weights.readout![Number(layer[1])]!;
      return layer[2] === "W" ? tf.transpose(weight.widen()) : tf.clone(bias);
    }
    if (name === "pos_embed.W_pos") return tf.clone(weights.posEmbed!.widen());
    if (name === "unembed.W_U") return tf.transpose(weights.unembed.widen());
    if (name === "unembed.b_U")
      return weights.unembedBias ? tf.clone(weights.unembedBias) : tf.zeros([outputWidth(config)]);
    return tf.clone(weights.lnFinal![name.endsWith(".b") ? "b" : "w"]!);
  });
}

function blockParameter(config: ModelConfig, block: BlockWeights, part: string, name: string): Tensor {
  const { n_heads, n_key_value_heads, d_head, d_model, d_mlp } = config;
  const norms: Record<string, NormWeights | undefined> = {
    ln1: block.ln1,
    ln1_post: block.ln1Post,
    ln2: block.ln2,
    ln2_post: block.ln2Post,
  };
  if (part in norms) return norms[part]![name as "w" | "b"]!;
  if (name === "q_norm.w") return block.qNorm!;
  if (name === "k_norm.w") return block.kNorm!;
  if (part === "mlp") {
    if (name === "W_out") return tf.transpose(block.mlpOut!.widen());
    if (name === "b_out") return block.mlpOutBias ?? tf.zeros([d_model]);
    if (name === "b_in") return block.mlpInBias ?? tf.zeros([d_mlp]);
    const gate = config.gated_mlp && name === "W_in" ? d_mlp : 0;
    return tf.transpose(tf.slice(block.mlpIn!.widen(), [gate, 0], [d_mlp, d_model]));
  }
  if (name === "W_O") return tf.transpose(tf.reshape(block.o.widen(), [d_model, n_heads, d_head]), [1, 2, 0]);
  if (name === "b_O") return block.oBias ?? tf.zeros([d_model]);
  const which = "QKV".indexOf(name.slice(-1));
  const heads = which === 0 ? n_heads : n_key_value_heads;
  const first = [0, n_heads, n_heads + n_key_value_heads][which]! * d_head;
  if (name.startsWith("W_")) {
    const rows = tf.slice(block.qkv.widen(), [first, 0], [heads * d_head, d_model]);
    return tf.transpose(tf.reshape(rows, [heads, d_head, d_model]), [0, 2, 1]);
  }
  return block.qkvBias
    ? tf.reshape(tf.slice(block.qkvBias, [first], [heads * d_head]), [heads, d_head])
    : tf.zeros([heads, d_head]);
}

/** Bytes of a model's weights as they are held. */
export function weightBytes(weights: Weights): number {
  return weightHandles(weights).reduce((sum, handle) => sum + handleBytes(handle), 0);
}

/** A block with its narrow matrices widened, or undefined where none is narrow. `dispose` frees what was widened. */
export function widenBlock(block: BlockWeights): { block: BlockWeights; dispose(): void } | undefined {
  const narrow = Object.entries(block).filter(([, leaf]) => leaf instanceof Matrix && leaf.narrow !== undefined) as [
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
