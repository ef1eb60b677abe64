import type { Tensor } from "@tensorflow/tfjs";
import { type Captured, functions } from "../../runtime/capture.ts";
import { gatherRows, type Handle, type RawTensor, reshapeOpen, sliceFrom } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { readVariable, scatterRows } from "../../runtime/variable.ts";
import type { ModelConfig } from "../config.ts";
import {
  type AttentionLimits,
  additiveMask,
  attendHeads,
  joinReduced,
  type KeysAndValues,
  reducePattern,
} from "../transformer/attention.ts";
import { type Access, type CachedLayer, type CapturedCall, describeAccess, mapPlace, type RowPlace } from "./access.ts";
import { type RowLayout, slotOf, survivors } from "./kv-cache.ts";
import { type AttentionStore, type NewTokens, queryParts } from "./store.ts";

/**
 * Attention of new tokens over a native cache by one captured function that also writes the cache.
 * The number of cached tokens is an input, so that no length causes a new capture.
 * @returns z [rows * tokens, heads * d_head], then the reductions
 */
export function attendCaptured(tokens: NewTokens, cached: CachedLayer): Tensor[] {
  const rows = cached.cache.native![cached.layer]!;
  const access = accessOf(tokens, rows[0]!.layout, cached);
  access.call ??= describeCall(tokens.tokens, rows[0]!.layout, access, cached);
  const { key, place, body } = access.call;
  const handles = rows.flatMap((row) => [row.keys.handle, row.values.handle]);
  const inputs: Handle[] = [tokens.q, tokens.k, tokens.v, ...place, ...handles];
  const open = [undefined, undefined, undefined, ...place.map(openShape)];
  const fn = functions.get(
    key,
    body,
    () => inputs,
    () => ({ name: `attention over the cache, ${tokens.tokens} tokens`, shapes: open }),
  );
  const out = fn.run(inputs);
  if (tokens.tokens > 1) writeRings(tokens, cached);
  return out;
}

function accessOf(tokens: NewTokens, layout: RowLayout, cached: CachedLayer): Access {
  const { accesses, config, local, windows, reductions } = cached;
  const reach = { needPositions: reductions.length > 0, local, windows };
  const key = `${tokens.starts.join()} ${layout.key} ${JSON.stringify(reach)}`;
  const access = accesses.get(key) ?? describeAccess(tokens, layout, config, reach);
  accesses.set(key, access);
  return access;
}

function describeCall(tokens: number, layout: RowLayout, access: Access, cached: CachedLayer): CapturedCall {
  const { config, reductions } = cached;
  // Tensors that heads share are passed once, and referred to by their number.
  const place: Tensor[] = [];
  const refer = (t: Tensor): number => (place.includes(t) ? place.indexOf(t) : place.push(t) - 1);
  const rows = access.rows.map((row) => mapPlace(row, refer));
  const key = [
    "cached",
    tokens,
    dimensions(config),
    layout.key,
    JSON.stringify([rows, access.limits]),
    reductions.map((r) => r.name).join("+"),
  ].join("|");
  const { limits } = access;
  const body = (...args: Handle[]): Tensor[] => {
    const [q, k, v] = args as [Tensor, Tensor, Tensor];
    const own = rows.map((row) => mapPlace(row, (i) => args[3 + i] as Tensor));
    const handles = args.slice(3 + place.length) as RawTensor[];
    const store = nativeStore({ k, v, handles }, own, { windows: layout.windows, limits });
    return attendRows(q, store, own, cached);
  };
  return { key, place, body };
}

/** Key positions are as long as the cache is; all else keeps its shape. */
function openShape(tensor: Tensor): number[] | undefined {
  return tensor.rank === 2 && tensor.shape[0] === 1 ? [1, -1] : undefined;
}

/** Attention row by row and part by part of the queries. @returns z [rows * tokens, heads * d_head], then the reductions */
function attendRows(
  q: Tensor,
  store: AttentionStore,
  rows: readonly RowPlace[],
  { config, reductions }: Pick<CachedLayer, "config" | "reductions">,
): Tensor[] {
  const { n_heads: H } = config;
  const tokens = q.shape[0]! / rows.length;
  const results = rows.map((row, r) => {
    const held = store.update(r);
    const parts = queryParts(tokens).map(({ first, count }, j) => {
      const { z, patterns } = attendHeads(rowsOf(q, r * tokens + first, count), held[j]!, config);
      if (reductions.length === 0) return [z];
      const pattern = reshapeOpen(tf.concat(patterns, 0), [1, H, count, -1]);
      const [query, valid] = [row.query!, row.valid!].map((t) => rowsOf(t, first, count)) as [Tensor, Tensor];
      return [z, ...reducePattern(pattern, reductions, { query, key: row.parts[j]![0]!.positions!, valid })];
    });
    const column = (i: number): Tensor[] => parts.map((part) => part[i]!);
    return [column(0), ...reductions.map((reduction, i) => [joinReduced(reduction, column(i + 1))])];
  });
  return ["z", ...reductions].map((_, i) => {
    const all = results.flatMap((row) => row[i]!);
    return all.length === 1 ? all[0]! : tf.concat(all, 0);
  });
}

/** Consecutive rows of a tensor; the tensor itself where they are all. */
function rowsOf(t: Tensor, first: number, count: number): Tensor {
  return count === t.shape[0] ? t : tf.slice(t, first, count);
}

/**
 * A layer's keys and values in the native runtime's variables, as a captured function writes and reads them.
 * @param inputs k and v of the new tokens [rows * tokens, kv heads, d_head], and the variables of keys and values by row
 * @param rows the new tokens' places
 */
export function nativeStore(
  { k, v, handles }: { k: Tensor; v: Tensor; handles: RawTensor[] },
  rows: readonly RowPlace[],
  { windows, limits }: Pick<RowLayout, "windows"> & Pick<Access, "limits">,
): AttentionStore {
  const [, G, D] = k.shape as [number, number, number];
  const tokens = k.shape[0]! / rows.length;
  const parts = queryParts(tokens);
  const masks = new Map<string, Tensor>();
  /** A row's new keys or values of one head [tokens, d_head]. */
  const own = (source: Tensor, r: number, g: number): Tensor =>
    tf.reshape(tf.slice(source, [r * tokens, g, 0], [tokens, 1, D]), [tokens, D]);
  /** The buffer with a row's new keys or values in it [slots, d_head]; those of streaming heads are written after the attention. */
  const write = (source: Tensor, r: number, handle: RawTensor): Tensor => {
    const { slots } = rows[r]!;
    const full = windows.flatMap((window, g) => (window ? [] : [g]));
    if (tokens === 1) scatterRows(handle, slots[0]!, tf.reshape(rowsOf(source, r, 1), [G, D]));
    else for (const [n, g] of full.entries()) scatterRows(handle, slots[n]!, own(source, r, g));
    return readVariable(handle);
  };
  const maskOf = (query: Tensor, positions: Tensor, j: number, limit: AttentionLimits): Tensor => {
    const { first, count } = parts[j]!;
    const key = `${query.id} ${positions.id} ${first} ${JSON.stringify(limit.window)}`;
    const mask = masks.get(key) ?? additiveMask(rowsOf(query, first, count), positions, limit);
    masks.set(key, mask);
    return mask;
  };
  return {
    update(r) {
      const [keys, values] = [k, v].map((source, i) => write(source, r, handles[2 * r + i]!)) as [Tensor, Tensor];
      const { query, parts } = rows[r]!;
      return parts.map((heads, j) =>
        heads.map(({ begin, size, positions }, g): KeysAndValues => {
          const ring = windows[g] !== undefined && tokens > 1;
          const read = (buffer: Tensor, source: Tensor): Tensor => {
            const held = sliceFrom(buffer, begin, size);
            return ring ? tf.concat([held, own(source, r, g)], 0) : held;
          };
          const limit = limits[g];
          const mask = limit ? maskOf(query!, positions!, j, limit) : undefined;
          return { keys: read(keys, k), values: read(values, v), mask };
        }),
      );
    },
  };
}

/** Streaming heads are written after the chunk's attention, which still needs the keys that the chunk pushes out. */
function writeRings({ k, v, tokens, real, starts }: NewTokens, { cache, layer }: CachedLayer): void {
  const G = k.shape[1]!;
  cache.native![layer]!.forEach((row, r) => {
    const { windows, offsets } = row.layout;
    const start = starts[r]!;
    const held = windows.flatMap((w, g) => (w ? survivors(start, start + real, w).map((p) => ({ p, g, w })) : []));
    if (held.length === 0) return;
    const slots = tf.tensor1d(
      held.map(({ p, g, w }) => offsets[g]! + slotOf(p, w)),
      "int32",
    );
    const index = tf.tensor1d(
      held.map(({ p, g }) => (r * tokens + p - start) * G + g),
      "int32",
    );
    const inputs: Handle[] = [k, v, slots, index, row.keys.handle, row.values.handle];
    ringWriter(k, inputs).run(inputs);
    tf.dispose([slots, index]);
  });
}

function ringWriter(k: Tensor, example: Handle[]): Captured {
  const [tokens, G, D] = k.shape as [number, number, number];
  return functions.get(
    `ring|${tokens}x${G}x${D}`,
    (...args) => {
      const [keys, values, slots, index] = args as Tensor[];
      for (const [source, variable] of [
        [keys!, args[4]!],
        [values!, args[5]!],
      ] as [Tensor, RawTensor][]) {
        scatterRows(variable, slots!, gatherRows(tf.reshape(source, [tokens * G, D]), index!));
      }
      return [];
    },
    () => example,
    () => ({ name: "ring write", shapes: [undefined, undefined, [-1], [-1]] }),
  );
}

function dimensions(config: ModelConfig): string {
  return `${config.n_heads},${config.n_key_value_heads},${config.d_head},${config.attn_scale},${config.attn_scores_soft_cap}`;
}
