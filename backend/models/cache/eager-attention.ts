import type { Tensor } from "@tensorflow/tfjs";
import { SQUARE } from "../../kernels/attend.ts";
import { tf } from "../../runtime/tf.ts";
import { type AttentionLimits, additiveMask, attend, joinReduced, reducePattern } from "../transformer/attention.ts";
import { ATTENTION_NAMES } from "../transformer/block.ts";
import type { Hook } from "../transformer/hook.ts";
import type { CachedLayer } from "./cached-layer.ts";
import type { ChosenSpans } from "./reader.ts";

/** Queries that share one product: scores of more do not stay in the processor's cache. */
const TOGETHER = 128;

/** A layer of a cache with the part of it that is read. */
export interface HeldLayer extends CachedLayer {
  /** Default: all spans that it holds. */
  spans?: ChosenSpans | undefined;
  /** bool [heads or 1, ceil(tokens / 64), ceil(columns / 64)]. Default: all squares. */
  blocks?: Tensor | undefined;
  /** As `AttentionChoice` has it. */
  behind?: Tensor | undefined;
}

/**
 * Attention over a cache from plain tensors: for whoever changes scores or patterns, and for backends without the kernels. Pattern
 * and scores are over absolute positions: their keys are 0 … longest start + tokens - 1. Rows that stand for several tokens come behind
 * them.
 * @param q [rows * tokens, heads, d_head]
 * @returns z [rows * tokens, heads * d_head], then the reductions
 */
export function attendEager(q: Tensor, cached: HeldLayer, hook: Hook): Tensor[] {
  const { n_heads: H, n_key_value_heads: G, d_head: D } = cached.config;
  const { tokens: C, starts } = cached.places.tokens;
  const length = cached.places.positions.numbers.reduce((most, position) => Math.max(most, position), 0) + 1;
  const spans = starts.map((_, r) => Array.from({ length: G }, (_, g) => HeadSpans.of(cached, r, g)));
  const summaries = Math.max(...spans.flat().map((each) => each.summaries.length / 4));
  const rows = spans.map((heads, r) => heads.map((own, g) => headOf(cached, { r, g, own }, { length, summaries })));
  const [k, v] = (["keys", "values"] as const).map((of) =>
    tf.stack(
      rows.map((heads) =>
        tf.stack(
          heads.map((head) => head[of]),
          1,
        ),
      ),
    ),
  ) as [Tensor, Tensor]; // [rows, length + summaries, kv heads, d_head]
  const queries = tf.reshape(q, [rows.length, C, H, D]);
  // Who looks at the whole pattern gets it whole.
  const together = ATTENTION_NAMES.some((name) => hook.wants(name)) ? C : TOGETHER;
  const parts = Array.from({ length: Math.ceil(C / together) }, (_, i) => {
    const [first, count] = [i * together, Math.min(together, C - i * together)];
    const own = count === C ? queries : tf.slice(queries, [0, first, 0, 0], [rows.length, count, H, D]);
    const reach = maskOf(rows, { first, count, group: H / G, length });
    const unread = () => unreadOf(cached.blocks!, { first, count, start: starts[0]!, length });
    const seen = cached.behind
      ? tf.add(reach, besides(behindOf(cached.behind, { first, count, start: starts[0]!, group: H / G }), summaries))
      : reach;
    const mask = cached.blocks ? tf.add(seen, besides(unread(), summaries)) : seen;
    const { z, pattern } = attend({ q: own, k, v, mask, extra: cached.extra }, cached.config, hook);
    return [z, ...reduceRows(summaries > 0 ? withoutLast(pattern, summaries) : pattern, cached, first)];
  });
  const column = (i: number): Tensor[] => parts.map((part) => part[i]!);
  return [
    tf.reshape(tf.concat(column(0), 1), [rows.length * C, H * D]),
    ...cached.reductions.map((reduction, i) => joinReduced(reduction, column(i + 1))),
  ];
}

/** The spans of one KV head that are read: those of tokens, and rows that stand for several. */
class HeadSpans {
  readonly tokens: Int32Array;
  /** Their positions are the negative numbers of the tokens. */
  readonly summaries: Int32Array;

  private constructor(spans: Int32Array) {
    const part = (summary: boolean) => spans.filter((_, i) => spans[4 * Math.floor(i / 4) + 2]! < 0 === summary);
    this.summaries = part(true);
    this.tokens = this.summaries.length === 0 ? spans : part(false);
  }

  static of({ places, index, spans }: HeldLayer, r: number, g: number): HeadSpans {
    return new HeadSpans(spans ? spans.spansOf(r, g) : places.spansOf(index, r, g));
  }
}

/** One KV head as queries reach it. */
interface PlainHead {
  /** Each at its position of the sequence, also where other rows are further on, then summaries [length + summaries, d_head]; the values alike. */
  keys: Tensor;
  values: Tensor;
  /** Additive: -1e9 at positions that it does not hold, the logarithms of the summaries' tokens [1, length + summaries]. */
  absence: Tensor;
  limits: AttentionLimits;
  /** Positions of the row's queries. */
  queries: Int32Array;
  /** The same for heads of equal masks. */
  reach: string;
}

function headOf(
  cached: HeldLayer,
  { r, g, own }: { r: number; g: number; own: HeadSpans },
  { length, summaries }: { length: number; summaries: number },
): PlainHead {
  const head = tokensOf(cached, { r, g, own }, length);
  if (summaries === 0) return head;
  const rows = cached.cache.storage.read(own.summaries);
  const none = summaries - own.summaries.length / 4;
  const more = Array.from({ length: summaries }, (_, i) => {
    const position = own.summaries[4 * i + 2];
    return position === undefined ? -1e9 : Math.log(-position);
  });
  const behind = (first: Tensor, last: Tensor) => tf.concat([first, tf.pad(last, [[0, none], [0, 0]])]); // biome-ignore format: one call
  return {
    ...head,
    keys: behind(head.keys, rows.keys),
    values: behind(head.values, rows.values),
    absence: tf.concat([head.absence, tf.tensor2d(more, [1, summaries])], 1),
    reach: `${head.reach} ${more}`,
  };
}

/** The tokens of a KV head. */
function tokensOf(
  { cache, places, index }: HeldLayer,
  { r, g, own }: { r: number; g: number; own: HeadSpans },
  length: number,
): PlainHead {
  const spans = own.tokens;
  const { tokens: count, starts, among } = places.tokens;
  const queries = places.positions.numbers.subarray(r * count, (r + 1) * count);
  const { layer, windows, local } = places.reaches[index]!;
  const limits = { window: cache.windows[layer]![g] ?? windows?.[g], local };
  const reach = `${among ? queries : starts[r]} ${JSON.stringify(limits)} ${spans.filter((_, i) => i % 4 > 1)}`;
  const { keys, values } = cache.storage.read(spans);
  if (inOrder(spans, length)) return { keys, values, absence: tf.zeros([1, length]), limits, queries, reach };
  const held = positionsIn(spans);
  const absence = new Float32Array(length).fill(-1e9);
  for (const position of held) absence[position] = 0;
  const place = tf.tensor2d(held, [held.length, 1], "int32");
  const spread = (rows: Tensor): Tensor => tf.scatterND(place, rows, [length, rows.shape[1]!]);
  return {
    keys: spread(keys),
    values: spread(values),
    absence: tf.tensor2d(absence, [1, length]),
    limits,
    queries,
    reach,
  };
}

/** True where spans hold all positions of a sequence, one after the other. */
function inOrder(spans: Int32Array, length: number): boolean {
  let end = 0;
  for (let i = 0; i < spans.length; i += 4) {
    if (spans[i + 2] !== end) return false;
    end += spans[i + 3]!;
  }
  return end === length;
}

function positionsIn(spans: Int32Array): number[] {
  const positions: number[] = [];
  for (let i = 0; i < spans.length; i += 4)
    for (let row = 0; row < spans[i + 3]!; row++) positions.push(spans[i + 2]! + row);
  return positions;
}

/** Mask of some queries [rows, heads, query, length + summaries], or one for all. @param group query heads of a KV head */
function maskOf(
  rows: readonly (readonly PlainHead[])[],
  { first, count, group, length }: { first: number; count: number; group: number; length: number },
): Tensor {
  const one = ({ limits, absence, queries }: PlainHead): Tensor => {
    const query = tf.tensor2d([...queries.subarray(first, first + count)], [count, 1]);
    const limited = additiveMask(query, sequence(length), limits);
    return tf.add(besides(limited, absence.shape[1]! - length), absence);
  };
  const heads = rows.flat();
  if (heads.every(({ reach }) => reach === heads[0]!.reach)) return tf.reshape(one(heads[0]!), [1, 1, count, -1]);
  return tf.stack(rows.map((row) => tf.stack(row.flatMap((head) => new Array<Tensor>(group).fill(one(head))))));
}

/**
 * Mask of squares that are not read [1, heads or 1, count, length]: those with positions of the queries' own always are.
 * @param blocks bool [heads or 1, squares of queries, squares of columns]
 */
function unreadOf(
  blocks: Tensor,
  { first, count, start, length }: { first: number; count: number; start: number; length: number },
): Tensor {
  const [heads, down, across] = blocks.shape as [number, number, number];
  const read = blocks.dataSync();
  const unread = new Float32Array(heads * count * length);
  for (let h = 0; h < heads; h++)
    for (let t = 0; t < count; t++) {
      const square = Math.floor((first + t) / SQUARE);
      const own = Math.floor((start + square * SQUARE) / SQUARE);
      for (let block = 0; block < own; block++) {
        if (read[(h * down + square) * across + block]) continue;
        const from = (h * count + t) * length;
        unread.fill(-1e9, from + block * SQUARE, from + (block + 1) * SQUARE);
      }
    }
  return tf.tensor4d(unread, [1, heads, count, length]);
}

/** Numbers for keys as some queries see them [1, heads, count, length], 0 for each one's own. @param behind [KV heads, length] */
function behindOf(
  behind: Tensor,
  { first, count, start, group }: { first: number; count: number; start: number; group: number },
): Tensor {
  const [kvHeads, length] = behind.shape as [number, number];
  const query = tf.tensor2d(Array.from({ length: count }, (_, t) => [start + first + t]));
  const others = tf.cast(tf.notEqual(query, sequence(length)), "float32"); // [count, length]
  const byHead = tf.reshape(tf.tile(tf.expandDims(behind, 1), [1, group, 1]), [1, kvHeads * group, 1, length]);
  return tf.mul(byHead, others);
}

/** A mask with columns of summaries behind it, which all queries see. */
function besides(mask: Tensor, summaries: number): Tensor {
  if (summaries === 0) return mask;
  const none = mask.shape.map((_, axis): [number, number] => [0, axis === mask.rank - 1 ? summaries : 0]);
  return tf.pad(mask, none);
}

/** A pattern without its last columns. */
function withoutLast(pattern: Tensor, columns: number): Tensor {
  const size = pattern.shape.map((n, axis) => (axis === pattern.rank - 1 ? n - columns : n));
  return tf.slice(pattern, new Array<number>(pattern.rank).fill(0), size);
}

/** Positions 0 … length - 1 [1, length]. */
function sequence(length: number): Tensor {
  return tf.tensor2d([Array.from({ length }, (_, p) => p)]);
}

/**
 * Reductions of rows that may begin at different positions.
 * @param pattern [rows, heads, query, key], of keys from 0 on and of queries from the `first` of each row on
 */
export function reduceRows(
  pattern: Tensor,
  { places, reductions }: Pick<CachedLayer, "places" | "reductions">,
  first = 0,
): Tensor[] {
  if (reductions.length === 0) return [];
  const { starts, ends } = places.tokens;
  const [, , count, length] = pattern.shape as [number, number, number, number];
  const key = sequence(length);
  const reduce = (part: Tensor, r: number): Tensor[] => {
    const queries = Array.from({ length: count }, (_, t) => starts[r]! + first + t);
    const [query, valid] = [queries, queries.map((position) => (position < ends[r]! ? 1 : 0))].map((column) =>
      tf.tensor2d(column, [count, 1]),
    ) as [Tensor, Tensor];
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
