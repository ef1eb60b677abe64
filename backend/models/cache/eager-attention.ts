import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../runtime/tf.ts";
import { additiveMask, attend, reducePattern } from "../transformer/attention.ts";
import type { Hook } from "../transformer/hook.ts";
import { type CachedLayer, queryPositions, validity } from "./access.ts";
import { heldPositions } from "./kv-cache.ts";
import type { AttentionStore, NewTokens } from "./store.ts";

/**
 * Attention over a cache from plain tensors: for hooks, and for backends without variables. Pattern and scores are over absolute
 * positions: their keys are 0 … longest start + tokens - 1.
 * @returns z [rows * tokens, heads * d_head], then the reductions
 */
export function attendEager(tokens: NewTokens, cached: CachedLayer, hook: Hook): Tensor[] {
  const { n_heads: H, d_head: D } = cached.config;
  const { starts, tokens: C } = tokens;
  const length = Math.max(...starts) + C;
  const store = eagerStore(tokens, cached, length);
  const rows = starts.map((_, r) => store.update(r)[0]!);
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
    q: tf.reshape(tokens.q, [rows.length, C, H, D]),
    k: stacked("keys", 1, 1),
    v: stacked("values", 1, 1),
    mask: stacked("mask", 0, H / rows[0]!.length),
  };
  const { z, pattern } = attend(inputs, cached.config, hook);
  return [tf.reshape(z, [rows.length * C, H * D]), ...reduceRows(pattern, tokens, cached, length)];
}

/**
 * A layer's keys and values as plain tensors, each at its position of the sequence, also where other rows are further on.
 * @param length positions of the sequence
 */
function eagerStore(tokens: NewTokens, cached: CachedLayer, length: number): AttentionStore {
  const { tokens: C, real, starts, k, v } = tokens;
  const { cache, layer, local, windows = [] } = cached;
  const key = sequence(length);
  /** Earlier rows and new ones at their positions, zeros elsewhere [positions, d_head]. */
  const spread = (earlier: Tensor, fresh: Tensor, held: readonly number[]): Tensor => {
    const all = earlier.shape[0] === 0 ? fresh : tf.concat([earlier, fresh], 0);
    return tf.scatterND(tf.tensor2d([...held], [held.length, 1], "int32"), all, [length, fresh.shape[1]!]);
  };
  return {
    update(r) {
      const start = starts[r]!;
      const fresh = Array.from({ length: C }, (_, t) => start + t);
      const heads = cache.heads[layer]![r]!.map((head, g) => {
        const held = [...heldPositions(start, head.window), ...fresh];
        const present = new Set(held);
        const absence = tf.tensor2d([Array.from({ length }, (_, p) => (present.has(p) ? 0 : -1e9))]);
        const limits = { window: head.window ?? windows[g], local };
        const stored = head.read(start);
        const read = {
          keys: spread(stored.keys, ownRows(k, r * C, g, C), held),
          values: spread(stored.values, ownRows(v, r * C, g, C), held),
          mask: tf.add(additiveMask(tf.tensor2d(fresh, [C, 1]), key, limits), absence),
        };
        head.append(start, ownRows(k, r * C, g, real), ownRows(v, r * C, g, real));
        return read;
      });
      return [heads];
    },
  };
}

/** Rows of one KV head [count, d_head]. @param t [rows * tokens, kv heads, d_head] */
function ownRows(t: Tensor, first: number, g: number, count: number): Tensor {
  const width = t.shape[2]!;
  return tf.reshape(tf.slice(t, [first, g, 0], [count, 1, width]), [count, width]);
}

/** Positions 0 … length - 1 [1, length]. */
function sequence(length: number): Tensor {
  return tf.tensor2d([Array.from({ length }, (_, p) => p)]);
}

/** Reductions of rows that may begin at different positions. */
function reduceRows(pattern: Tensor, tokens: NewTokens, { reductions }: CachedLayer, length: number): Tensor[] {
  if (reductions.length === 0) return [];
  const { starts } = tokens;
  const key = sequence(length);
  const reduce = (part: Tensor, start: number): Tensor[] =>
    reducePattern(part, reductions, { query: queryPositions(tokens.tokens, start), key, valid: validity(tokens) });
  if (starts.every((start) => start === starts[0])) return reduce(pattern, starts[0]!);
  const rows = starts.map((start, r) => reduce(tf.slice(pattern, r, 1), start));
  return reductions.map((_, i) =>
    tf.concat(
      rows.map((row) => row[i]!),
      0,
    ),
  );
}
