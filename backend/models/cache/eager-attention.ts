import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../runtime/tf.ts";
import { additiveMask, attend, type KeysAndValues, reducePattern } from "../transformer/attention.ts";
import type { Hook } from "../transformer/hook.ts";
import type { CachedLayer } from "./cached-layer.ts";

/**
 * Attention over a cache from plain tensors: for whoever changes scores or patterns, and for backends without the kernels. Pattern
 * and scores are over absolute positions: their keys are 0 … longest start + tokens - 1.
 * @param q [rows * tokens, heads, d_head]
 * @returns z [rows * tokens, heads * d_head], then the reductions
 */
export function attendEager(q: Tensor, cached: CachedLayer, hook: Hook): Tensor[] {
  const { n_heads: H, n_key_value_heads: G, d_head: D } = cached.config;
  const { tokens: C, starts } = cached.places.tokens;
  const length = Math.max(...starts) + C;
  const key = sequence(length);
  const rows = starts.map((_, r) => Array.from({ length: G }, (_, g) => headOf(cached, r, g, key)));
  const stacked = (part: "keys" | "values" | "mask", axis: number, copies: number): Tensor =>
    tf.stack(
      rows.map((heads) =>
        tf.stack(
          heads.flatMap((head) => new Array<Tensor>(copies).fill(head[part]!)),
          axis,
        ),
      ),
    );
  const inputs = {
    q: tf.reshape(q, [rows.length, C, H, D]),
    k: stacked("keys", 1, 1),
    v: stacked("values", 1, 1),
    mask: stacked("mask", 0, H / G),
  };
  const { z, pattern } = attend(inputs, cached.config, hook);
  return [tf.reshape(z, [rows.length * C, H * D]), ...reduceRows(pattern, cached)];
}

/** Keys and values of one KV head, each at its position of the sequence, also where other rows are further on. @param key positions [1, key] */
function headOf({ cache, places, index }: CachedLayer, r: number, g: number, key: Tensor): KeysAndValues {
  const { tokens: C, starts } = places.tokens;
  const { layer, windows, local } = places.reaches[index]!;
  const length = key.shape[1]!;
  const spans = places.spansOf(index, r, g);
  const held: number[] = [];
  for (let i = 0; i < spans.length; i += 4)
    for (let row = 0; row < spans[i + 3]!; row++) held.push(spans[i + 2]! + row);
  const present = new Set(held);
  const absence = tf.tensor2d([Array.from({ length }, (_, p) => (present.has(p) ? 0 : -1e9))]);
  const query = tf.tensor2d(Array.from({ length: C }, (_, t) => [starts[r]! + t]));
  const limits = { window: cache.windows[layer]![g] ?? windows?.[g], local };
  const { keys, values } = cache.storage.read(spans);
  const place = tf.tensor2d(held, [held.length, 1], "int32");
  const spread = (rows: Tensor): Tensor => tf.scatterND(place, rows, [length, rows.shape[1]!]);
  return { keys: spread(keys), values: spread(values), mask: tf.add(additiveMask(query, key, limits), absence) };
}

/** Positions 0 … length - 1 [1, length]. */
function sequence(length: number): Tensor {
  return tf.tensor2d([Array.from({ length }, (_, p) => p)]);
}

/** Reductions of rows that may begin at different positions. @param pattern [rows, heads, query, key], of keys from 0 on */
export function reduceRows(
  pattern: Tensor,
  { places, reductions }: Pick<CachedLayer, "places" | "reductions">,
): Tensor[] {
  if (reductions.length === 0) return [];
  const { tokens: C, starts, ends } = places.tokens;
  const key = sequence(pattern.shape[3]!);
  const column = (values: number[]): Tensor => tf.tensor2d(values, [C, 1]);
  const reduce = (part: Tensor, r: number): Tensor[] => {
    const query = column(Array.from({ length: C }, (_, t) => starts[r]! + t));
    const valid = column(Array.from({ length: C }, (_, t) => (starts[r]! + t < ends[r]! ? 1 : 0)));
    return reducePattern(part, reductions, { query, key, valid });
  };
  const same = starts.every((start, r) => start === starts[0] && ends[r] === ends[0]);
  if (same) return reduce(pattern, 0);
  const rows = starts.map((_, r) => reduce(tf.slice(pattern, r, 1), r));
  return reductions.map((_, i) =>
    tf.concat(
      rows.map((row) => row[i]!),
      0,
    ),
  );
}
