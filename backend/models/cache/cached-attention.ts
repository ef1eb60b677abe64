import type { Tensor } from "@tensorflow/tfjs";
import { type Hook, UNHOOKED } from "../transformer/hook.ts";
import type { CachedLayer } from "./access.ts";
import { attendCaptured } from "./captured-attention.ts";
import { attendEager } from "./eager-attention.ts";
import type { NewTokens } from "./store.ts";

/**
 * Attention of new tokens over a layer's cache, which keeps their keys and values: by a captured function where there are such and
 * nobody looks at the pattern.
 * @param hook of whoever looks
 * @returns z [rows * tokens, heads * d_head], then the reductions
 */
export function attendCached(tokens: NewTokens, cached: CachedLayer, hook?: Hook): Tensor[] {
  const { cache, layer, reductions } = cached;
  const captured = cache.native && !hook && (reductions.length === 0 || !cache.streams(layer));
  return captured ? attendCaptured(tokens, cached) : attendEager(tokens, cached, hook ?? UNHOOKED);
}
