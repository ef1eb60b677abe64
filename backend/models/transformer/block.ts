import type { Tensor } from "@tensorflow/tfjs";
import { gatherRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { headShape, type ModelConfig } from "../config.ts";
import type { BlockWeights, NormWeights } from "../weights/block-parts.ts";
import type { EndWeights } from "../weights/weights.ts";
import { softCap } from "./attention.ts";
import { codeVectors, nearestCodes, straightThrough } from "./bottleneck.ts";
import type { Hook } from "./hook.ts";

/** A block of the transformer: its weights, the model's config and the hook points of its activations. */
export interface Block {
  weights: BlockWeights;
  config: ModelConfig;
  hook: Hook;
}

/** Rotation of the queries and keys of a chunk: cosines and sines [tokens, 1, rotary_dim]. */
export interface Rotation {
  cos: Tensor;
  sin: Tensor;
}

/** The names of `attentionInput` in the order of the computation. */
export const INPUT_NAMES = [
  "hook_attn_in", "hook_q_input", "hook_k_input", "hook_v_input", "ln1.hook_scale", "ln1.hook_normalized",
  "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_rot_q", "attn.hook_rot_k",
] as const; // biome-ignore format: a table
/** The names of the attention itself. */
export const ATTENTION_NAMES = ["attn.hook_attn_scores", "attn.hook_pattern"] as const;
/** The names of `blockOutput`. */
export const OUTPUT_NAMES = [
  "attn.hook_z", "attn.hook_result", "ln1_post.hook_scale", "ln1_post.hook_normalized", "hook_attn_out", "hook_resid_mid",
  "hook_mlp_in", "ln2.hook_scale", "ln2.hook_normalized", "mlp.hook_pre", "mlp.hook_pre_linear", "mlp.hook_post",
  "ln2_post.hook_scale", "ln2_post.hook_normalized", "hook_mlp_out", "hook_resid_post",
] as const; // biome-ignore format: a table

/**
 * Normalises the last axis. Hooks: `{prefix}.hook_scale` [..., 1] and `{prefix}.hook_normalized`,
 * before w for RMS norm and after w and b for layer norm, as TransformerLens has it.
 */
export function normalise(
  x: Tensor,
  weights: NormWeights | undefined,
  prefix: string,
  { config, hook }: Pick<Block, "config" | "hook">,
): Tensor {
  if (config.normalization_type === null || !weights) return x;
  const layerNorm = config.normalization_type === "LN";
  const centred = layerNorm ? tf.sub(x, tf.mean(x, -1, true)) : x;
  const variance = tf.add(tf.mean(tf.square(centred), -1, true), config.eps);
  const scaled = hook.wants(`${prefix}.hook_scale`)
    ? tf.div(centred, hook(`${prefix}.hook_scale`, tf.sqrt(variance)))
    : tf.mul(centred, tf.rsqrt(variance));
  if (!layerNorm) return tf.mul(hook(`${prefix}.hook_normalized`, scaled), weights.w);
  const affine = tf.mul(scaled, weights.w);
  return hook(`${prefix}.hook_normalized`, weights.b ? tf.add(affine, weights.b) : affine);
}

/** Rotates the first rotary_dim dimensions of every head, halves paired: (a, b) -> (a cos - b sin, b cos + a sin). */
export function rotate(x: Tensor, { cos, sin }: Rotation, config: ModelConfig): Tensor {
  const [tokens, heads, width] = x.shape as [number, number, number];
  const rotary = config.rotary_dim;
  const turned = rotary === width ? x : tf.slice(x, [0, 0, 0], [tokens, heads, rotary]);
  const a = tf.slice(turned, [0, 0, 0], [tokens, heads, rotary / 2]);
  const b = tf.slice(turned, [0, 0, rotary / 2], [tokens, heads, rotary / 2]);
  const result = tf.add(tf.mul(turned, cos), tf.mul(tf.concat([tf.neg(b), a], -1), sin));
  return rotary === width
    ? result
    : tf.concat([result, tf.slice(x, [0, 0, rotary], [tokens, heads, width - rotary])], -1);
}

/** RMS norm of queries or keys where the model has one: of each head, or of all heads as one vector. @param x [tokens, heads, d_head] */
export function normaliseHeads(x: Tensor, w: Tensor | undefined, config: ModelConfig): Tensor {
  if (!w) return x;
  const [tokens, heads, width] = x.shape as [number, number, number];
  const vectors = config.qk_norm === "all" ? tf.reshape(x, [tokens, heads * width]) : x;
  const variance = tf.add(tf.mean(tf.square(vectors), -1, true), config.eps);
  return tf.reshape(tf.mul(tf.mul(vectors, tf.rsqrt(variance)), w), x.shape);
}

/**
 * The part of a block before attention: queries, keys and values, normalised and rotated where the model does so.
 * @param x residual stream [tokens, d_model]
 * @returns query [tokens, heads, key width], key [tokens, key heads, key width], value [tokens, value heads, value width]
 */
export function attentionInput(x: Tensor, rotation: Rotation | undefined, block: Block): [Tensor, Tensor, Tensor] {
  const { weights, config, hook } = block;
  const split = hook.wants("hook_attn_in") || ["q", "k", "v"].some((part) => hook.wants(`hook_${part}_input`));
  const [q, k, v] = split ? splitProjections(x, block) : projections();
  const query = normaliseHeads(hook("attn.hook_q", q!), weights.qNorm, config);
  const key = normaliseHeads(hook("attn.hook_k", k!), weights.kNorm, config);
  const value = hook("attn.hook_v", v!);
  if (!rotation) return [query, key, value];
  return [
    hook("attn.hook_rot_q", rotate(query, rotation, config)),
    hook("attn.hook_rot_k", rotate(key, rotation, config)),
    value,
  ];

  function projections(): Tensor[] {
    const normed = normalise(x, weights.ln1, "ln1", block); // [tokens, d_model]
    const flat = withBias(weights.qkv.apply(normed), weights.qkvBias); // [tokens, all heads' numbers]
    const tokens = flat.shape[0]!;
    return projectionRows(config).map(({ first, heads, width }) =>
      tf.reshape(tf.slice(flat, [0, first], [tokens, heads * width]), [tokens, heads, width]),
    );
  }
}

/** Rows of a layer's projection: of its queries, its keys and its values, each a head after the other. */
export function projectionRows(config: ModelConfig): { first: number; heads: number; width: number }[] {
  const { queries, keys, values, keyWidth, valueWidth } = headShape(config);
  return [
    { first: 0, heads: queries, width: keyWidth },
    { first: queries * keyWidth, heads: keys, width: keyWidth },
    { first: (queries + keys) * keyWidth, heads: values, width: valueWidth },
  ];
}

/** Queries, keys and values from a copy of the residual stream for every head: hook_{q,k,v}_input [tokens, heads, d_model]. */
function splitProjections(x: Tensor, block: Block): Tensor[] {
  const { weights, config, hook } = block;
  const { n_heads: H, d_model } = config;
  const copies = (source: Tensor, heads: number): Tensor =>
    tf.tile(tf.reshape(source, [-1, 1, d_model]), [1, heads, 1]);
  const shared = hook.wants("hook_attn_in") ? hook("hook_attn_in", copies(x, H)) : undefined; // [tokens, H, d_model]
  const wide = weights.qkv.widen();
  const rows = projectionRows(config);
  return (["q", "k", "v"] as const).map((part, i) => {
    const { first, heads, width } = rows[i]!;
    const input = hook(`hook_${part}_input`, shared ?? copies(x, heads));
    const normed = normalise(input, weights.ln1, "ln1", block); // [tokens, heads, d_model]
    const w = tf.reshape(tf.slice(wide, [first, 0], [heads * width, d_model]), [heads, width, d_model]);
    const out = tf.transpose(tf.matMul(tf.transpose(normed, [1, 0, 2]), w, false, true), [1, 0, 2]); // [tokens, heads, width]
    const bias = weights.qkvBias && tf.reshape(tf.slice(weights.qkvBias, [first], [heads * width]), [heads, width]);
    return bias ? tf.add(out, bias) : out;
  });
}

/**
 * The part of a block after attention: the heads' outputs to the residual stream, then the MLP.
 * @param x residual stream before the block [tokens, d_model]
 * @param z head outputs, heads side by side [tokens, heads * value width]; looked at as [tokens, heads, value width]
 * @returns residual stream after the block [tokens, d_model]
 */
export function blockOutput(x: Tensor, z: Tensor, block: Block): Tensor {
  const { weights, config, hook } = block;
  const { attn_only } = config;
  const parallel = config.parallel_attn_mlp === true && !attn_only;
  const heads = headsOutput(z, block);
  const attnOut = hook("hook_attn_out", normalise(heads, weights.ln1Post, "ln1_post", block));
  const middle = parallel ? undefined : hook("hook_resid_mid", tf.add(x, attnOut));
  if (attn_only) return hook("hook_resid_post", middle!);
  const written = mlpOutput(hook("hook_mlp_in", middle ?? x), block);
  const mlpOut = hook("hook_mlp_out", normalise(written, weights.ln2Post, "ln2_post", block));
  return hook("hook_resid_post", tf.add(middle ?? tf.add(x, attnOut), mlpOut));
}

/** The sum of what the heads write [tokens, d_model]. */
function headsOutput(z: Tensor, { weights, config, hook }: Block): Tensor {
  const { n_heads: H, d_model } = config;
  const D = headShape(config).valueWidth;
  // A reshape between z and its product keeps XLA from its fast path, so only those who look at heads pay for one.
  const split = hook.wants("attn.hook_z") || hook.wants("attn.hook_result");
  const heads = split ? hook("attn.hook_z", tf.reshape(z, [-1, H, D])) : z;
  if (!hook.wants("attn.hook_result"))
    return withBias(weights.o.apply(split ? tf.reshape(heads, [-1, H * D]) : z), weights.oBias);
  const w = tf.transpose(tf.reshape(weights.o.widen(), [d_model, H, D]), [1, 0, 2]); // [H, d_model, D]
  const result = tf.transpose(tf.matMul(tf.transpose(heads, [1, 0, 2]), w, false, true), [1, 0, 2]);
  return withBias(tf.sum(hook("attn.hook_result", result), 1), weights.oBias);
}

/** The output of the MLP, before a norm behind it. @param x stream that it reads, before its own norm [tokens, d_model] @returns alike */
export function mlpOutput(x: Tensor, block: Block): Tensor {
  const { weights, config, hook } = block;
  const { d_mlp, gated_mlp } = config;
  const normed = normalise(x, weights.ln2, "ln2", block);
  const hidden = withBias(weights.mlpIn!.apply(normed), weights.mlpInBias); // [tokens, d_mlp or 2 d_mlp]
  const tokens = hidden.shape[0]!;
  const pre = hook("mlp.hook_pre", gated_mlp ? tf.slice(hidden, [0, 0], [tokens, d_mlp]) : hidden);
  const linear = gated_mlp ? hook("mlp.hook_pre_linear", tf.slice(hidden, [0, d_mlp], [tokens, d_mlp])) : undefined;
  const active = activate(pre, config.act_fn);
  const post = hook("mlp.hook_post", linear ? tf.mul(active, linear) : active);
  return withBias(weights.mlpOut!.apply(post), weights.mlpOutBias);
}

function withBias(x: Tensor, bias: Tensor | undefined): Tensor {
  return bias ? tf.add(x, bias) : x;
}

function activate(x: Tensor, name: ModelConfig["act_fn"]): Tensor {
  switch (name) {
    case "silu":
      return tf.mul(x, tf.sigmoid(x));
    case "relu":
      return tf.relu(x);
    case "gelu":
      return tf.mul(tf.mul(x, 0.5), tf.add(1, tf.erf(tf.mul(x, Math.SQRT1_2))));
    case "quick_gelu":
      return tf.mul(x, tf.sigmoid(tf.mul(x, 1.702)));
    case "gelu_new":
    case "gelu_pytorch_tanh":
      return tf.mul(
        tf.mul(x, 0.5),
        tf.add(1, tf.tanh(tf.mul(Math.sqrt(2 / Math.PI), tf.add(x, tf.mul(0.044715, tf.pow(x, 3)))))),
      );
  }
}

/**
 * The end of the model: final norm, bottleneck, readout layers, unembedding.
 * @param x residual stream of the tokens whose logits are wanted [tokens, d_model]; with a bottleneck that of the tokens before them, and
 *   beside it their own embeddings [tokens, 2 d_model]
 * @returns logits [tokens, outputs]
 */
export function unembed(x: Tensor, weights: EndWeights, config: ModelConfig, hook: Hook): Tensor {
  if (config.bottleneck) return decode(x, weights, config, hook).logits;
  return logitsFrom(unembedInput(x, weights, config, hook), weights, config);
}

/** Logits [tokens, outputs]. @param read input of the unembedding [tokens, width] */
function logitsFrom(read: Tensor, weights: EndWeights, config: ModelConfig): Tensor {
  return softCap(withBias(weights.unembed.apply(read), weights.bias), config.output_logits_soft_cap);
}

/** The end of a model behind its bottleneck, and both sides of the bottleneck. */
export interface DecodedEnd {
  /** [tokens, outputs] */
  logits: Tensor;
  /** Normalised stream that is coded [tokens, d_model]. */
  z: Tensor;
  /** Rows of the codes, int32 [tokens * heads]. */
  chosen: Tensor;
  /** Vectors of the codes [tokens, d_model]. */
  vectors: Tensor;
}

/** The same of a model with a bottleneck. @param x [tokens, 2 d_model], as `unembed` reads it */
export function decode(x: Tensor, weights: EndWeights, config: ModelConfig, hook: Hook): DecodedEnd {
  const [before, own] = tf.split(x, 2, -1) as [Tensor, Tensor];
  const z = config.final_norm ? normalise(before, weights.ln, "ln_final", { config, hook }) : before;
  const codes = weights.codes!.widen();
  const chosen = nearestCodes(z, codes, config.bottleneck!);
  const vectors = codeVectors(codes, chosen, config.bottleneck!);
  const read = readOut(tf.add(straightThrough(z, vectors), own), weights);
  return { logits: logitsFrom(read, weights, config), z, chosen, vectors };
}

/**
 * The same at a few outputs of every token.
 * @param ids outputs, int32 [tokens * count] @returns logits [tokens, count]
 */
export function unembedAt(
  { x, ids }: { x: Tensor; ids: Tensor },
  weights: EndWeights,
  config: ModelConfig,
  hook: Hook,
): Tensor {
  const read = unembedInput(x, weights, config, hook);
  const [tokens, width] = read.shape as [number, number];
  const rows = tf.reshape(weights.unembed.rows(ids), [tokens, -1, width]); // [tokens, count, width]
  const products = tf.sum(tf.mul(tf.reshape(read, [tokens, 1, width]), rows), -1);
  const bias = weights.bias && tf.reshape(gatherRows(weights.bias, ids), products.shape);
  return softCap(withBias(products, bias), config.output_logits_soft_cap);
}

/** The input of the unembedding: the stream behind the final norm and the readout layers [tokens, width]. */
function unembedInput(x: Tensor, weights: EndWeights, config: ModelConfig, hook: Hook): Tensor {
  return readOut(config.final_norm ? normalise(x, weights.ln, "ln_final", { config, hook }) : x, weights);
}

/** The readout layers one after the other. */
function readOut(x: Tensor, { readout }: EndWeights): Tensor {
  return readout.reduce((h, layer) => tf.relu(tf.add(layer.weight.apply(h), layer.bias)), x);
}
