import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { tf } from "../../runtime/tf.ts";
import { joinReduced } from "../transformer/attention.ts";
import { type Hook, UNHOOKED } from "../transformer/hook.ts";
import type { CachedLayer } from "./cached-layer.ts";
import { attendEager, type HeldLayer, reduceRows } from "./eager-attention.ts";
import type { Projections } from "./prompt-attention.ts";
import { type AttentionChoice, ChosenSpans } from "./reader.ts";

/** Whoever looks at a layer's attention, and how closely. */
export interface AttentionLook {
  /** Nothing: nobody. Pattern: it is only looked at. Everything: scores are looked at, or scores or pattern changed. */
  closeness: "nothing" | "pattern" | "everything";
  hook: Hook;
}

/** Queries whose patterns are reduced together: those of more take memory for nothing. */
const TOGETHER = 128;

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
  const { z, ...held } = chosen(q, cached);
  const plain = closeness === "everything" || !cache.storage.attend || held.behind !== undefined;
  if (z && (closeness !== "nothing" || cached.reductions.length > 0)) refusePattern();
  const out = z
    ? [tf.reshape(z, [q.shape[0]!, -1])]
    : plain
      ? attendEager(q, held, hook)
      : attendHeld(q, held, { closeness, hook });
  held.spans?.dispose();
  if (places.late) cache.storage.write(rows, places.late);
  return out;
}

/** The layer with what its reader chooses. */
function chosen(q: Tensor, cached: CachedLayer): HeldLayer & Pick<AttentionChoice, "z"> {
  const { cache, places, index, reader } = cached;
  if (!reader) return cached;
  const { layer } = places.reaches[index]!;
  const spansOf = (row: number, head: number): Int32Array => places.spansOf(index, row, head);
  const { spans, blocks, behind, z } = reader.choose({ layer, q, tokens: places.tokens, cache, spansOf }) ?? {};
  return { ...cached, spans: spans && new ChosenSpans(spans, places, index), blocks, behind, z };
}

/** @throws HeadscopeError (unsupported) */
function refusePattern(): never {
  throw new HeadscopeError("unsupported", "this attention is worked out as a whole, without scores or a pattern", {
    remedy: "look at neither, or take another policy for the prompt",
  });
}

/** Attention where the pages lie. */
function attendHeld(q: Tensor, cached: HeldLayer, { closeness, hook }: AttentionLook): Tensor[] {
  const { n_heads: H, d_head: D } = cached.config;
  const { tokens: T, starts } = cached.places.tokens;
  const queries = tf.reshape(q, [starts.length, T, H, D]);
  const together = closeness === "nothing" && cached.reductions.length > 0 ? TOGETHER : T;
  const parts = Array.from({ length: Math.ceil(T / together) }, (_, i) => {
    const [first, count] = [i * together, Math.min(together, T - i * together)];
    return attendPart(queries, { first, count }, cached, { closeness, hook });
  });
  const column = (i: number): Tensor[] => parts.map((part) => part[i]!);
  return [
    tf.reshape(parts.length === 1 ? parts[0]![0]! : tf.concat(column(0), 1), [starts.length * T, H * D]),
    ...cached.reductions.map((reduction, i) => joinReduced(reduction, column(i + 1))),
  ];
}

/** The same of some queries. @param queries [rows, tokens, heads, d_head] @returns z [rows, count, heads, d_head], then the reductions */
function attendPart(
  queries: Tensor,
  { first, count }: { first: number; count: number },
  cached: HeldLayer,
  { closeness, hook }: AttentionLook,
): Tensor[] {
  const { cache, places, index, config, reductions, spans, blocks } = cached;
  const [rows, T, H, D] = queries.shape as [number, number, number, number];
  const all = places.tensors(index);
  const part = (t: Tensor): Tensor =>
    count === T ? t : tf.slice(t, [0, first, 0, 0].slice(0, t.rank), [rows, count, H, D].slice(0, t.rank));
  const call = {
    ...all,
    ...spans?.tensors,
    blocks,
    q: tf.reshape(part(queries), [rows * count, H, D]),
    positions: part(all.positions),
    scale: config.attn_scale,
    cap: config.attn_scores_soft_cap,
  };
  const { z, pattern } = cache.storage.attend!(call, closeness === "pattern" || reductions.length > 0);
  const own = tf.reshape(z, [rows, count, H, D]);
  if (!pattern) return [own];
  return [own, ...reduceRows(hook("attn.hook_pattern", patternByHead(pattern, rows)), cached, first)];
}

/** A kernel's pattern [rows * tokens, heads, positions] as the hook point has it [rows, heads, tokens, positions]. */
export function patternByHead(pattern: Tensor, rows: number): Tensor {
  const [queries, heads, positions] = pattern.shape as [number, number, number];
  if (queries === rows) return tf.reshape(pattern, [rows, heads, 1, positions]);
  return tf.transpose(tf.reshape(pattern, [rows, queries / rows, heads, positions]), [0, 2, 1, 3]);
}
