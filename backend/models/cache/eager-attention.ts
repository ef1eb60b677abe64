import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";
import { additiveMask, attend, type PatternReduction, reducePattern } from "../transformer/attention.ts";
import type { At } from "../transformer/block.ts";
import { type Chunk, queryPositions, type Reaching, validity } from "./access.ts";
import { heldPositions, type KvCache } from "./kv-cache.ts";

/**
 * Attention over a cache from plain tensors: for hooks, and for backends without variables. Pattern and scores are over absolute positions.
 * @returns z [rows, tokens, heads, d_head], the pattern's key positions are 0 … longest start + tokens - 1
 */
export function attendPast(
  chunk: Chunk,
  cache: KvCache,
  layer: number,
  config: ModelConfig,
  reductions: readonly PatternReduction[],
  { local, windows = [] }: Pick<Reaching, "local" | "windows">,
  at: At,
): Tensor[] {
  const { n_heads: H, n_key_value_heads: G, d_head: D } = config;
  const { tokens: C, starts } = chunk;
  const rows = cache.heads[layer]!;
  const past = Math.max(...starts);
  const view = (t: Tensor, heads: number): Tensor => tf.reshape(t, [rows.length, C, heads, D]);
  const [q, k, v] = [view(chunk.q, H), view(chunk.k, G), view(chunk.v, G)];
  const key = tf.tensor2d([Array.from({ length: past + C }, (_, p) => p)]);
  const masks: Tensor[] = [];
  const keys: Tensor[] = [];
  const values: Tensor[] = [];
  rows.forEach((row, r) => {
    const own = Array.from({ length: C }, (_, t) => starts[r]! + t);
    const perHead = row.map((head, g) => {
      const held = [...heldPositions(starts[r]!, head.window), ...own];
      const stored = head.read(starts[r]!);
      // Each key at its position of the sequence, also where other rows are further on.
      const spread = (earlier: Tensor, chunkRows: Tensor): Tensor => {
        const mine = tf.reshape(tf.slice(chunkRows, [r, 0, g, 0], [1, C, 1, D]), [C, D]);
        const all = earlier.shape[0] === 0 ? mine : tf.concat([earlier, mine], 0);
        const places = tf.tensor2d(held, [held.length, 1], "int32");
        return tf.reshape(tf.scatterND(places, all, [past + C, D]), [past + C, 1, D]);
      };
      const there = new Set(held);
      const gone = tf.tensor2d([Array.from({ length: past + C }, (_, p) => (there.has(p) ? 0 : -1e9))]);
      const mine = tf.tensor2d(own, [C, 1]);
      const mask = tf.reshape(tf.add(additiveMask(mine, key, head.window ?? windows[g], local), gone), [
        1,
        1,
        C,
        past + C,
      ]);
      return {
        keys: spread(stored.keys, k!),
        values: spread(stored.values, v!),
        mask: tf.tile(mask, [1, H / G, 1, 1]),
      };
    });
    keys.push(
      tf
        .concat(
          perHead.map((p) => p.keys),
          1,
        )
        .expandDims(0),
    );
    values.push(
      tf
        .concat(
          perHead.map((p) => p.values),
          1,
        )
        .expandDims(0),
    );
    masks.push(
      tf.concat(
        perHead.map((p) => p.mask),
        1,
      ),
    );
  });
  const part = attend(q!, tf.concat(keys, 0), tf.concat(values, 0), tf.concat(masks, 0), config, at);
  rows.forEach((row, r) => {
    row.forEach((head, g) => {
      const own = (t: Tensor): Tensor => tf.reshape(tf.slice(t, [r, 0, g, 0], [1, chunk.real, 1, D]), [chunk.real, D]);
      const [ownKeys, ownValues] = [own(k!), own(v!)];
      head.append(starts[r]!, ownKeys, ownValues);
    });
  });
  return [tf.reshape(part.z, [rows.length * C, H * D]), ...reduceRows(part.pattern, reductions, chunk, key)];
}

/** Reductions of rows that may begin at different positions. @param key positions of the keys [1, key] */
function reduceRows(pattern: Tensor, reductions: readonly PatternReduction[], chunk: Chunk, key: Tensor): Tensor[] {
  if (reductions.length === 0) return [];
  const { starts, tokens } = chunk;
  const reduce = (part: Tensor, start: number): Tensor[] =>
    reducePattern(part, reductions, queryPositions({ tokens, starts: [start] }), key, validity(chunk));
  if (starts.every((start) => start === starts[0])) return reduce(pattern, starts[0]!);
  const rows = starts.map((start, r) => reduce(tf.slice(pattern, r, 1), start));
  return reductions.map((_, i) =>
    tf.concat(
      rows.map((row) => row[i]!),
      0,
    ),
  );
}
