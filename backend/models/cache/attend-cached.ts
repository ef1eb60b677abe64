import type { Tensor } from "@tensorflow/tfjs";
import { type Hook, UNHOOKED } from "../transformer/hook.ts";
import type { CachedLayer, Projections } from "./cached-layer.ts";
import { attendEager } from "./eager-attention.ts";

/**
 * Attention of new tokens over a layer's cache, which keeps their keys and values.
 * @param hook of whoever looks
 * @returns z [rows * tokens, heads * d_head], then the reductions
 */
export function attendCached({ q, k, v }: Projections, cached: CachedLayer, hook: Hook = UNHOOKED): Tensor[] {
  const { cache, places, index } = cached;
  const rows = { k, v, layer: index };
  cache.storage.write(rows, places.slots);
  const out = attendEager(q, cached, hook);
  if (places.late) cache.storage.write(rows, places.late);
  return out;
}
