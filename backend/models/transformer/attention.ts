import type { Tensor, Tensor3D } from "@tensorflow/tfjs";
import { reshapeOpen } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";
import type { At } from "./block.ts";

/** Which keys a head may attend to: all earlier ones, or (streaming) those among the first `sink` and the last `recent`. */
export interface Window {
  sink: number;
  recent: number;
}

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
}

/** A number for every query, such as the position of the key attended to most. */
export interface PatternMap {
  kind: "map";
  name: string;
  /** @param pattern [rows, heads, query, key] @param key positions [1, key] @returns [rows, heads, query] float32 */
  map(pattern: Tensor, key: Tensor): Tensor;
}

/** What a probe needs of a pattern, computed where the pattern is, so that the pattern itself need not be kept. */
export type PatternReduction = PatternSum | PatternMap;

const FAR = 1e9;
/**
 * What hook_attn_scores shows at keys that a query may not attend to: finite, so that it stays so in files. Whatever is put
 * there at or below it takes the key away too.
 */
export const MASKED = -FAR / 2;

/**
 * Additive mask: 0 where a query may attend, a very large negative number elsewhere.
 * @param query positions [query, 1] @param key positions [1, key] @param window of a streaming head
 * @param local keys that the layer's queries reach, their own included, where its attention is local
 * @returns [query, key]
 */
export function additiveMask(query: Tensor, key: Tensor, window?: Window, local?: number): Tensor {
  const age = tf.sub(query, key); // 0 for the query's own key
  let inside = tf.minimum(age, 0);
  if (local !== undefined) inside = tf.minimum(inside, tf.sub(local - 1, age));
  if (window) inside = tf.minimum(inside, tf.maximum(tf.sub(window.recent - 1, age), tf.sub(window.sink - 1, key)));
  return tf.mul(inside, FAR);
}

/** cap * tanh(x / cap), or x itself without a cap. */
export function softCap(x: Tensor, cap: number | undefined): Tensor {
  return cap === undefined ? x : tf.mul(tf.tanh(tf.div(x, cap)), cap);
}

/** Applies reductions to a pattern. @param valid 1 for real queries, 0 for padding [query, 1] @returns sums [rows, heads] each, maps [rows, heads, query] each, in order */
export function reducePattern(
  pattern: Tensor,
  reductions: readonly PatternReduction[],
  query: Tensor,
  key: Tensor,
  valid: Tensor,
): Tensor[] {
  const sums = reductions.filter((r) => r.kind === "sum");
  const [rows, heads, queries] = pattern.shape as [number, number, number];
  const columns = sums.map((r) => reshapeOpen(tf.mul(r.weight(query, key), valid), [1, -1])); // [1, query * key]
  const summed =
    sums.length === 0
      ? undefined
      : tf.matMul(
          reshapeOpen(pattern, [rows * heads, -1]),
          columns.length === 1 ? columns[0]! : tf.concat(columns, 0),
          false,
          true,
        );
  return reductions.map((r) => {
    if (r.kind === "map") return tf.reshape(r.map(pattern, key), [rows, heads, queries]);
    return tf.reshape(tf.slice(summed!, [0, sums.indexOf(r)], [rows * heads, 1]), [rows, heads]);
  });
}

/**
 * Softmax attention over keys and values that are at hand.
 * Query head h reads key-value head floor(h / group).
 * @param q [rows, query, heads, d_head] @param k [rows, key, kv heads, d_head] @param v as k
 * @param mask additive, broadcastable to [rows, heads, query, key]
 * @returns z [rows, query, heads, d_head] and the pattern [rows, heads, query, key]
 */
export function attend(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  mask: Tensor,
  config: ModelConfig,
  at: At,
): { z: Tensor; pattern: Tensor } {
  const [B, C] = q.shape as [number, number];
  const n = k.shape[1]!;
  const { n_heads: H, n_key_value_heads: G, d_head: D, attn_scale, attn_scores_soft_cap } = config;
  const query = tf.reshape(tf.transpose(tf.mul(q, attn_scale), [0, 2, 1, 3]), [B * G, (H / G) * C, D]);
  const key = tf.reshape(tf.transpose(k, [0, 2, 1, 3]), [B * G, n, D]);
  const value = tf.reshape(tf.transpose(v, [0, 2, 1, 3]), [B * G, n, D]);
  const products = tf.reshape(tf.matMul(query as Tensor3D, key as Tensor3D, false, true), [B, H, C, n]);
  const masked = tf.add(softCap(products, attn_scores_soft_cap), mask);
  const pattern = patternOf(masked, mask, at);
  const z = tf.matMul(tf.reshape(pattern, [B * G, (H / G) * C, n]) as Tensor3D, value as Tensor3D);
  return { z: tf.transpose(tf.reshape(z, [B, H, C, D]), [0, 2, 1, 3]), pattern };
}

/**
 * The pattern of scores, and its two hook points. The mask holds after either of them: no change of scores or patterns lets a
 * query see what it may not, be it the future, padding or what lies outside a window. A query whose keys a change has all
 * lowered to MASKED attends to nothing.
 * @param masked scores with the mask added [rows, heads, query, key] @param mask broadcastable to them
 */
function patternOf(masked: Tensor, mask: Tensor, at: At): Tensor {
  const [SCORES, PATTERN] = ["attn.hook_attn_scores", "attn.hook_pattern"];
  const changed = at.changes(SCORES);
  // Whoever looks at scores finds one number at every masked key, whatever its distance.
  const scores = at.wants(SCORES)
    ? at(SCORES, tf.maximum(masked, MASKED), (s) => where(seen(s, mask), s, MASKED))
    : masked;
  const made = changed ? where(seen(scores), tf.softmax(scores), 0) : tf.softmax(masked);
  return at(PATTERN, made, (pattern) => where(tf.greater(tf.add(mask, tf.zerosLike(pattern)), MASKED), pattern, 0));
}

/** Where a score is above MASKED, and so is the mask. NaN counts as above, so that it is not lost. */
function seen(scores: Tensor, mask?: Tensor): Tensor {
  const above = tf.logicalNot(tf.lessEqual(scores, MASKED));
  return mask ? tf.logicalAnd(tf.greater(mask, MASKED), above) : above;
}

function where(condition: Tensor, x: Tensor, otherwise: number): Tensor {
  return tf.where(condition, x, tf.fill(x.shape, otherwise));
}

/** Queries that share one product when nobody looks at the whole pattern: keys beyond their last are never touched. */
const QUERY_CHUNK = 128;

/** Tokens that attend among themselves. */
export interface Among {
  /** [rows, tokens, heads, d_head] */
  q: Tensor;
  /** [rows, tokens, kv heads, d_head], as is v */
  k: Tensor;
  v: Tensor;
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
 * @returns z [rows, tokens, heads, d_head], then the reductions
 */
export function attendAmong(
  tokens: Among,
  reductions: readonly PatternReduction[],
  config: ModelConfig,
  at: At,
): [Tensor, ...Tensor[]] {
  const { q, k, v, position, valid, keyMask, windows, local } = tokens;
  const [B, T, H, D] = q.shape as [number, number, number, number];
  const G = config.n_key_value_heads;
  const whole = at.wants("attn.hook_pattern") || at.wants("attn.hook_attn_scores");
  const chunk = whole || T <= QUERY_CHUNK * 1.5 ? T : QUERY_CHUNK;
  const zs: Tensor[] = [];
  const reduced: Tensor[][] = reductions.map(() => []);
  for (let first = 0; first < T; first += chunk) {
    const C = Math.min(chunk, T - first);
    const n = first + C;
    const query = tf.slice(position, [first, 0], [C, 1]);
    const key = tf.transpose(tf.slice(position, [0, 0], [n, 1]));
    const causal = windows ? headMasks(query, key, windows, H / G, local) : additiveMask(query, key, undefined, local);
    const mask = keyMask ? tf.add(causal, tf.slice(keyMask, [0, 0, 0, 0], [B, 1, 1, n])) : causal;
    const until = (t: Tensor): Tensor => (n === T ? t : tf.slice(t, [0, 0, 0, 0], [B, n, G, D]));
    const part = attend(tf.slice(q, [0, first, 0, 0], [B, C, H, D]), until(k), until(v), mask, config, at);
    zs.push(part.z);
    reducePattern(part.pattern, reductions, query, key, tf.slice(valid, [first, 0], [C, 1])).forEach((r, i) => {
      reduced[i]!.push(r);
    });
  }
  return [
    zs.length === 1 ? zs[0]! : tf.concat(zs, 1),
    ...reduced.map((parts, i) => joinReduced(reductions[i]!, parts)),
  ];
}

/** Masks of the query heads where KV heads differ [1, heads, query, key]. */
function headMasks(
  query: Tensor,
  key: Tensor,
  windows: readonly (Window | undefined)[],
  group: number,
  local: number | undefined,
): Tensor {
  const masks = windows.map((w) => tf.expandDims(additiveMask(query, key, w, local), 0));
  return tf.expandDims(
    tf.concat(
      masks.flatMap((m) => new Array<Tensor>(group).fill(m)),
      0,
    ),
    0,
  );
}

/** Puts together what a reduction gave for consecutive chunks of queries. */
export function joinReduced(reduction: PatternReduction, parts: Tensor[]): Tensor {
  if (parts.length === 1) return parts[0]!;
  return reduction.kind === "sum" ? tf.addN(parts) : tf.concat(parts, 2);
}
