import type { HeadMask } from "../../common/heads/mask.ts";
import { meaningOf } from "../../common/heads/meaning.ts";
import type { CacheKind } from "../../common/words.ts";
import { cacheRowBytes } from "../../kernels/pages.ts";
import { rowsAllocated } from "../../models/cache/head-cache.ts";
import { localWindow, type ModelConfig } from "../../models/config.ts";
import type { Window } from "../../models/transformer/attention.ts";
import { kept } from "../policies/base.ts";
import type { PolicyChoice } from "../policies/choice.ts";

/** A request whose memory and work are wanted. */
export interface RequestSize {
  /** Of the prompt. */
  readonly tokens: number;
  readonly newTokens: number;
  /** Form of keys and values. */
  readonly cache: CacheKind;
}

/** Keys and values of a request, and the attention over them: told without a run. The last new token leaves none, since nothing reads it. */
export interface Footprint {
  /** Bytes of a token's keys and values in all heads. */
  readonly bytesPerToken: number;
  /** Bytes allocated at the end. */
  readonly bytes: number;
  /** Bytes that a new token reads, mean over those that are read behind the prompt. */
  readonly readBytes: number;
  /** Pairs of a query and a key that it reads, over layers and query heads: of the prompt. */
  readonly pairs: number;
}

/** Rows of one KV head under a choice. */
interface HeadRows {
  /** At the end, as memory is given. */
  readonly allocated: number;
  /** Read by the token in the middle of the new ones. */
  readonly read: number;
  /** Query-key pairs of the prompt, of one query head. */
  readonly pairs: number;
}

/** The footprint of a request under policies. @param choice `{}` for full attention @param config of the model */
export function footprint(choice: Partial<PolicyChoice>, config: ModelConfig, size: RequestSize): Footprint {
  const { n_layers, n_heads, n_key_value_heads: kvHeads, d_head } = config;
  const rowBytes = 2 * cacheRowBytes(size.cache, d_head);
  const windows = choice.heads && windowsOf(choice.heads.mask);
  const counts = countsOf(choice, size.tokens, n_layers);
  let [allocated, read, pairs] = [0, 0, 0];
  for (let layer = 0; layer < n_layers; layer++) {
    const local = localWindow(config, layer);
    for (let head = 0; head < kvHeads; head++) {
      const window = windows?.[layer]?.[head];
      const rows = window ? streaming(window, choice.heads!, size) : full(counts[layer]!, choice, size);
      const chosen = window ? rows.read : chosenOf(rows.read, choice, layer);
      allocated += rows.allocated;
      read += Math.min(chosen, local ?? Number.POSITIVE_INFINITY);
      pairs += local === undefined ? rows.pairs : Math.min(rows.pairs, reach(size.tokens, local));
    }
  }
  return {
    bytesPerToken: n_layers * kvHeads * rowBytes,
    bytes: allocated * rowBytes,
    readBytes: read * rowBytes,
    pairs: (pairs * n_heads) / kvHeads,
  };
}

function windowsOf(mask: HeadMask): readonly (readonly (Window | undefined)[])[] {
  return meaningOf(mask).windows;
}

/** Tokens of the prompt that a head which keeps everything is left with, by layer. */
function countsOf({ tokens: choice }: Partial<PolicyChoice>, tokens: number, layers: number): number[] {
  const even = choice ? kept(choice.params, tokens) : Number.POSITIVE_INFINITY;
  const own = even < tokens ? choice?.policy.counts?.(choice.params, tokens, layers) : undefined;
  return (own ?? new Array<number>(layers).fill(even)).map((count) => Math.min(count, tokens));
}

function streaming(window: Window, { prefill, once }: NonNullable<PolicyChoice["heads"]>, size: RequestSize): HeadRows {
  const { tokens, newTokens } = size;
  const most = window.sink + window.recent;
  const pairs = prefill === "dense" ? reach(tokens) : reach(tokens, most);
  if (once) return { ...grown(Math.min(tokens, most), newTokens), pairs };
  const length = tokens + newTokens - 1;
  return { allocated: rowsAllocated(length, window), read: Math.min(tokens + middle(newTokens), most), pairs };
}

function full(count: number, { tokens: choice }: Partial<PolicyChoice>, { tokens, newTokens }: RequestSize): HeadRows {
  const slides = choice?.params.when === "decode" && Number.isFinite(kept(choice.params, tokens));
  const pairs = reach(tokens);
  if (!slides) return { ...grown(count, newTokens), pairs };
  const most = kept(choice.params, tokens);
  const length = Math.min(count + newTokens - 1, most);
  return { allocated: rowsAllocated(length), read: Math.min(count + middle(newTokens), most), pairs };
}

/** A head that holds so much of the prompt, and every new token. */
function grown(count: number, newTokens: number): Omit<HeadRows, "pairs"> {
  return { allocated: rowsAllocated(count + newTokens - 1), read: count + middle(newTokens) };
}

/** Keys that a new token reads of those that a head holds, under a policy for reads. */
function chosenOf(held: number, { reads }: Partial<PolicyChoice>, layer: number): number {
  if (!reads || layer < Number(reads.params["dense"] ?? 0)) return held;
  return Math.min(held, Math.max(kept(reads.params, held), reads.policy.least?.(reads.params) ?? 1));
}

/** Number of the token in the middle of those that are read behind the prompt, itself included. */
function middle(newTokens: number): number {
  return (Math.max(1, newTokens - 1) + 1) / 2;
}

/** Query-key pairs of a causal prompt whose queries see so many keys at most. */
function reach(tokens: number, most = tokens): number {
  const short = Math.min(tokens, most);
  return (short * (short + 1)) / 2 + (tokens - short) * most;
}
