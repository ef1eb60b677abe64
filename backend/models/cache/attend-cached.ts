import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../runtime/tf.ts";
import { type Hook, UNHOOKED } from "../transformer/hook.ts";
import type { CachedLayer, Projections } from "./cached-layer.ts";
import { attendEager, reduceRows } from "./eager-attention.ts";

/** Whoever looks at a layer's attention, and how closely. */
export interface AttentionLook {
  /** Nothing: nobody. Pattern: it is only looked at. Everything: scores are looked at, or scores or pattern changed. */
  closeness: "nothing" | "pattern" | "everything";
  hook: Hook;
}

/** Tokens of a row that the kernels attend for together. */
const TOGETHER = 8;

/**
 * Attention of new tokens over a layer's cache, which keeps their keys and values.
 * @returns z [rows * tokens, heads * d_head], then the reductions
 */
export function attendCached(
  { q, k, v }: Projections,
  cached: CachedLayer,
  { closeness, hook }: AttentionLook = { closeness: "nothing", hook: UNHOOKED },
): Tensor[] {
  const { cache, places, index } = cached;
  const rows = { k, v, layer: index };
  cache.storage.write(rows, places.slots);
  const plain = closeness === "everything" || !cache.storage.attend || places.tokens.tokens > TOGETHER;
  const out = plain ? attendEager(q, cached, hook) : attendHeld(q, cached, { closeness, hook });
  if (places.late) cache.storage.write(rows, places.late);
  return out;
}

/** Attention where the pages lie. */
function attendHeld(q: Tensor, cached: CachedLayer, { closeness, hook }: AttentionLook): Tensor[] {
  const { cache, places, index, config, reductions } = cached;
  const { n_heads: H, d_head: D, attn_scale: scale, attn_scores_soft_cap: cap } = config;
  const { tokens: T, starts } = places.tokens;
  const { positions, lists, spans } = places;
  const wantsPattern = closeness === "pattern" || reductions.length > 0;
  const { z, pattern } = cache.storage.attend!({ q, layer: index, positions, lists, spans, scale, cap }, wantsPattern);
  const flat = tf.reshape(z, [starts.length * T, H * D]);
  if (!pattern) return [flat];
  const byHead = tf.transpose(tf.reshape(pattern, [starts.length, T, H, -1]), [0, 2, 1, 3]);
  return [flat, ...reduceRows(hook("attn.hook_pattern", byHead), cached)];
}
