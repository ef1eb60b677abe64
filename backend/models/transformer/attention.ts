import type { Tensor } from "@tensorflow/tfjs";
import { conditionOn } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";
import type { Hook } from "./hook.ts";
import { extraOutput, extraScores } from "./kernels/extra-key.ts";
import { kernelOf } from "./kernels/index.ts";
import type { ExtraWeights } from "./kernels/kernel.ts";
import { additiveMask, MASKED, seen, type Window, where } from "./mask.ts";

export { type AttentionLimits, additiveMask, MASKED, type Window } from "./mask.ts";

/**
 * A linear function of the pattern: sum over queries and keys of weight · pattern, for every row and head. Padded queries count nothing.
 * A probe made of these costs one matrix product inside the block.
 */
export interface PatternSum {
  kind: "sum";
  /** Identity, parameters included: captured functions are found by it. */
  name: string;
  /** @param query positions [query, 1] @param key positions [1, key] @returns [query, key] */
  weight(query: Tensor, key: Tensor): Tensor;
  /** True for the pattern over its rows' sums, where a kernel's do not come to 1. */
  shares?: boolean | undefined;
}

/** A number for every query, such as the position of the key attended to most. */
export interface PatternMap {
  kind: "map";
  name: string;
  /** @param pattern [rows, heads, query, key] @param key positions [1, key] @returns [rows, heads, query] float32 */
  map(pattern: Tensor, key: Tensor): Tensor;
}

/** A function of a pattern, computed where the pattern is, so that the pattern itself need not be kept. */
export type PatternReduction = PatternSum | PatternMap;

/** cap * tanh(x / cap), or x itself without a cap. */
export function softCap(x: Tensor, cap: number | undefined): Tensor {
  return cap === undefined ? x : tf.mul(tf.tanh(tf.div(x, cap)), cap);
}

/** The positions along a pattern's last two axes. */
export interface PatternAxes {
  /** [query, 1] */
  query: Tensor;
  /** [1, key] */
  key: Tensor;
  /** 1 for real queries, 0 for padding [query, 1]. */
  valid: Tensor;
}

/**
 * Applies reductions to a pattern.
 * @param pattern [rows, heads, query, key]
 * @returns sums [rows, heads] each, maps [rows, heads, query] each, in order
 */
export function reducePattern(
  pattern: Tensor,
  reductions: readonly PatternReduction[],
  { query, key, valid }: PatternAxes,
): Tensor[] {
  const [rows, heads, queries] = pattern.shape as [number, number, number];
  const column = (r: PatternSum): Tensor => tf.reshape(tf.mul(r.weight(query, key), valid), [1, -1]); // [1, query * key]
  const summed = new Map<PatternSum, Tensor>();
  for (const shares of [false, true]) {
    const sums = reductions.filter((r) => r.kind === "sum" && (r.shares ?? false) === shares) as PatternSum[];
    if (sums.length === 0) continue;
    const flat = tf.reshape(shares ? rowShares(pattern) : pattern, [rows * heads, -1]);
    const columns = sums.map(column);
    const all = tf.matMul(flat, columns.length === 1 ? columns[0]! : tf.concat(columns, 0), false, true);
    sums.forEach((sum, i) => {
      summed.set(sum, tf.reshape(tf.slice(all, [0, i], [rows * heads, 1]), [rows, heads]));
    });
  }
  return reductions.map((r) =>
    r.kind === "map" ? tf.reshape(r.map(pattern, key), [rows, heads, queries]) : summed.get(r)!,
  );
}

/** A pattern whose rows sum to 1; a row of zeros stays one. */
function rowShares(pattern: Tensor): Tensor {
  return tf.div(pattern, tf.maximum(tf.sum(pattern, -1, true), 1e-20));
}

/** Queries of several rows, and the keys and values that they read. */
export interface RowInputs {
  /** [rows, query, heads, key width] */
  q: Tensor;
  /** [rows, key, key heads, key width] */
  k: Tensor;
  /** [rows, key, value heads, value width] */
  v: Tensor;
  /** Additive, broadcastable to [rows, heads, query, key]. */
  mask: Tensor;
  /** Weights of the key beside those of the tokens, in models that have one: a block's weights have them. */
  extra?: ExtraWeights | undefined;
}

/**
 * Attention of plain tensors, weights(cap(q k) + mask) v, of all heads of several rows at once, with the hook points of scores and
 * pattern. Query head h of H reads key head floor(h · keys / H), and the value head alike. Scores and pattern are of the tokens' keys: an extra key's weight is not among
 * them, and no change of theirs moves its score.
 * @returns z [rows, query, heads, value width] and the pattern [rows, heads, query, key]
 */
export function attend(
  { q, k, v, mask, extra }: RowInputs,
  config: ModelConfig,
  hook: Hook,
): { z: Tensor; pattern: Tensor } {
  const [B, C] = q.shape as [number, number];
  const n = k.shape[1]!;
  const { attn_scale, attn_scores_soft_cap } = config;
  const H = q.shape[2]!;
  const { features } = kernelOf(config);
  const [query, key] = features ? [features(q), features(k)] : [tf.mul(q, attn_scale), k];
  const [keys, values] = [k.shape[2]!, v.shape[2]!];
  const byHead = (t: Tensor, heads: number): Tensor =>
    tf.reshape(tf.transpose(t, [0, 2, 1, 3]), [B * heads, -1, t.shape[3]!]);
  // The queries of all heads that read the same keys stand one after the other.
  const products = tf.matMul(byHead(query, keys), byHead(key, keys), false, true); // [B keys, group C, n]
  const scores = softCap(tf.reshape(products, [B, H, C, n]), attn_scores_soft_cap);
  const beside = extraScores(query, extra, config);
  const besideScores = beside && softCap(beside, extra?.keyBias ? attn_scores_soft_cap : undefined);
  const { pattern, rest } = patternOf(tf.add(scores, mask), { mask, beside: besideScores, config, hook });
  const shared = tf.reshape(pattern, [B * values, (H / values) * C, n]);
  const read = tf.reshape(tf.matMul(shared, byHead(v, values)), [B, H, C, v.shape[3]!]);
  const z = rest && extra?.valueBias ? tf.add(read, extraOutput(rest, extra.valueBias, config)) : read;
  return { z: tf.transpose(z, [0, 2, 1, 3]), pattern };
}

/** The surroundings of scores that become a pattern. */
interface PatternContext {
  /** Broadcastable to the scores. */
  mask: Tensor;
  /** Scores of the extra key [rows, heads, query, 1]. */
  beside: Tensor | undefined;
  config: ModelConfig;
  hook: Hook;
}

/**
 * The pattern of scores, and its two hook points. The mask holds after either of them: no change of scores or patterns lets a
 * query see what it may not, be it the future, padding or what lies outside a window. A query whose keys a change has all
 * lowered to MASKED attends to nothing.
 * @param masked scores with the mask added [rows, heads, query, key]
 * @returns the pattern alike, and the extra key's weight [rows, heads, query, 1]
 */
function patternOf(
  masked: Tensor,
  { mask, beside, config, hook }: PatternContext,
): { pattern: Tensor; rest: Tensor | undefined } {
  const [SCORES, PATTERN] = ["attn.hook_attn_scores", "attn.hook_pattern"];
  const changed = hook.changes(SCORES);
  // Whoever looks at scores finds one number at every masked key, whatever its distance.
  const scores = hook.wants(SCORES)
    ? hook(SCORES, tf.maximum(masked, MASKED), (s) => where(seen(s, mask), s, MASKED))
    : masked;
  const own = changed ? scores : masked;
  const all = beside ? tf.concat([own, beside], -1) : own;
  const weighed = kernelOf(config).weigh(all, config);
  const weights = changed ? where(seen(all), weighed, 0) : weighed;
  const [pattern, rest] = beside ? splitLast(weights) : [weights, undefined];
  const hooked = hook(PATTERN, pattern, (set) =>
    where(
      conditionOn(set, (x) => tf.greater(tf.add(mask, tf.zerosLike(x)), MASKED)),
      set,
      0,
    ),
  );
  return { pattern: hooked, rest };
}

/** A tensor without the last column, and that column. */
function splitLast(weights: Tensor): [Tensor, Tensor] {
  const [B, H, C, n] = weights.shape as [number, number, number, number];
  return [tf.slice(weights, [0, 0, 0, 0], [B, H, C, n - 1]), tf.slice(weights, [0, 0, 0, n - 1], [B, H, C, 1])];
}

/** Queries that share one product when nobody looks at the whole pattern: keys beyond their last are never touched. */
const QUERY_CHUNK = 128;

/** Tokens that attend among themselves. */
export interface PrefillInputs extends Omit<RowInputs, "mask"> {
  /** Place of each token [tokens, 1]. */
  position: Tensor;
  /** 1 for real tokens, 0 for padding [tokens, 1]. */
  valid: Tensor;
  /** Additive, for keys to leave out [rows, 1, 1, tokens]. */
  keyMask?: Tensor | undefined;
  /** By KV head, the window of a streaming head. */
  windows?: readonly (Window | undefined)[] | undefined;
  /** Keys that a query reaches, its own included, in a layer of local attention. */
  local?: number | undefined;
}

/**
 * Causal attention of tokens among themselves, in chunks of queries so that no work is done above the diagonal's blocks.
 * @returns z [rows, tokens, heads, value width], then the reductions
 */
export function attendPrefill(
  tokens: PrefillInputs,
  reductions: readonly PatternReduction[],
  config: ModelConfig,
  hook: Hook,
): [Tensor, ...Tensor[]] {
  const { q, k, v, position, valid, keyMask, extra } = tokens;
  const [B, T, H, D] = q.shape as [number, number, number, number];
  const G = k.shape[2]!;
  const whole = hook.wants("attn.hook_pattern") || hook.wants("attn.hook_attn_scores");
  const chunk = whole || T <= QUERY_CHUNK * 1.5 ? T : QUERY_CHUNK;
  const parts = Array.from({ length: Math.ceil(T / chunk) }, (_, i) => {
    const first = i * chunk;
    const C = Math.min(chunk, T - first);
    const n = first + C;
    const query = tf.slice(position, [first, 0], [C, 1]);
    const key = tf.transpose(tf.slice(position, [0, 0], [n, 1]));
    const causal = causalMask(query, key, tokens, H / G);
    const mask = keyMask ? tf.add(causal, tf.slice(keyMask, [0, 0, 0, 0], [B, 1, 1, n])) : causal;
    const until = (t: Tensor): Tensor => (n === T ? t : tf.slice(t, [0, 0, 0, 0], [B, n, t.shape[2]!, t.shape[3]!]));
    const queries = tf.slice(q, [0, first, 0, 0], [B, C, H, D]);
    const { z, pattern } = attend({ q: queries, k: until(k), v: until(v), mask, extra }, config, hook);
    return [z, ...reducePattern(pattern, reductions, { query, key, valid: tf.slice(valid, [first, 0], [C, 1]) })];
  });
  const column = (i: number): Tensor[] => parts.map((part) => part[i]!);
  return [
    parts.length === 1 ? parts[0]![0]! : tf.concat(column(0), 1),
    ...reductions.map((reduction, i) => joinReduced(reduction, column(i + 1))),
  ];
}

/** Mask of all heads [query, key], or of each where KV heads differ [1, heads, query, key]. @param group query heads of a KV head */
function causalMask(
  query: Tensor,
  key: Tensor,
  { windows, local }: Pick<PrefillInputs, "windows" | "local">,
  group: number,
): Tensor {
  if (!windows) return additiveMask(query, key, { local });
  const [first] = windows;
  if (windows.every((window) => window?.sink === first?.sink && window?.recent === first?.recent))
    return additiveMask(query, key, { window: first, local });
  const masks = windows.map((window) => tf.expandDims(additiveMask(query, key, { window, local }), 0));
  const heads = masks.flatMap((mask) => new Array<Tensor>(group).fill(mask));
  return tf.expandDims(tf.concat(heads, 0), 0);
}

/** Puts together what a reduction gave for consecutive chunks of queries. */
export function joinReduced(reduction: PatternReduction, parts: Tensor[]): Tensor {
  if (parts.length === 1) return parts[0]!;
  return reduction.kind === "sum" ? tf.addN(parts) : tf.concat(parts, 2);
}
