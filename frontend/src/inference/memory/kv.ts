import type { HeadMask } from "../../../../backend/common/heads/mask.ts";
import type { ModelConfig } from "../../../../backend/models/config.ts";

/** Bytes of a number in the cache: keys and values are held as f32. */
const F32 = 4;

/** Sizes of a model that decide that of its KV cache. */
export interface KvShape {
  readonly layers: number;
  /** KV heads of a layer. */
  readonly kvHeads: number;
  /** Width of a head. */
  readonly dHead: number;
}

/** Numbers of KV heads that keep everything and that stream, and tokens that those keep. */
export interface Split {
  readonly full: number;
  readonly streaming: number;
  readonly sink: number;
  readonly recent: number;
}

export function shapeOf(config: ModelConfig): KvShape {
  return { layers: config.n_layers, kvHeads: config.n_key_value_heads, dHead: config.d_head };
}

/** Of a mask; all heads are full in one that only ablates. */
export function splitOf(mask: HeadMask): Split {
  const { layers, kvHeads } = mask.model;
  const streaming = (mask.kvHeads ?? []).flat().filter((choice) => choice === "streaming").length;
  return { full: layers * kvHeads - streaming, streaming, sink: mask.sink, recent: mask.recent };
}

/** The split with every head full. */
export function allFull({ layers, kvHeads }: KvShape): Split {
  return { full: layers * kvHeads, streaming: 0, sink: 0, recent: 1 };
}

/** Bytes of keys and values after `tokens` tokens: a full head holds them all, a streaming head its sink and recent ones. */
export function kvBytes({ dHead }: KvShape, { full, streaming, sink, recent }: Split, tokens: number): number {
  return (full * tokens + streaming * Math.min(tokens, sink + recent)) * dHead * 2 * F32;
}

/** Tokens that a cache of these bytes, all heads full, has room for. */
export function tokensIn({ layers, kvHeads, dHead }: KvShape, bytesFull: number): number {
  return bytesFull / (layers * kvHeads * dHead * 2 * F32);
}

/** Context lengths to draw the curves over: from 512 (from 1 in a shorter context) to the longest, with the bend of a streaming head among them. */
export function curveTokens(context: number, { sink, recent }: Split, points = 33): number[] {
  const from = context > 512 ? 512 : 1;
  const even = Array.from({ length: points }, (_, i) => Math.round(from + ((context - from) * i) / (points - 1)));
  const bend = sink + recent;
  const all = bend > from && bend < context ? [...even, bend] : even;
  return [...new Set(all)].sort((a, b) => a - b);
}

/** Both curves, in MB by tokens of context; null where nothing can be held under the policies. */
export interface MemoryCurves {
  readonly tokens: readonly number[];
  readonly full: readonly number[];
  readonly masked: readonly (number | null)[];
}

export function curves(shape: KvShape, split: Split, context: number): MemoryCurves {
  const tokens = curveTokens(context, split);
  const megabytes = (of: Split) => tokens.map((n) => kvBytes(shape, of, n) / 1e6);
  return { tokens, full: megabytes(allFull(shape)), masked: megabytes(split) };
}
