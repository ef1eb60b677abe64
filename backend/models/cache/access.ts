import type { Tensor } from "@tensorflow/tfjs";
import type { Handle } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";
import type { AttentionLimits, PatternReduction, Window } from "../transformer/attention.ts";
import { heldPositions, type KvCache, type RowLayout, slotOf, slotsUsed } from "./kv-cache.ts";
import { type NewTokens, queryParts } from "./store.ts";

/** The rows that one part of the queries reads of one KV head. @typeParam T a tensor, or its number among the arguments of a function */
export interface HeadPlace<T = Tensor> {
  /** First row and column, int32 [2]. */
  begin: T;
  /** Number of rows and their width, int32 [2]. */
  size: T;
  /** Positions of these keys, then of the chunk's own for streaming heads [1, key]; where a mask or a reduction needs them. */
  positions?: T | undefined;
}

/** The place of one row's new tokens in its buffers. */
export interface RowPlace<T = Tensor> {
  /** Positions of the queries [tokens, 1]; where a mask or a reduction needs them. */
  query?: T | undefined;
  /** 1 for real queries, 0 for padding [tokens, 1]; alike. */
  valid?: T | undefined;
  /** Slots to write, int32 [heads * tokens]; in a chunk of several tokens a vector for every full head. */
  slots: T[];
  /** By part of the queries and KV head. */
  parts: HeadPlace<T>[][];
}

/** The captured function of a forward's layers of one layout, and the tensors that tell it the place. */
export interface CapturedCall {
  key: string;
  place: Tensor[];
  body: (...args: Handle[]) => Tensor[];
}

/** The tensors that say where a chunk's keys and values lie in rows of one layout: made once a forward, shared by its layers. */
export interface Access {
  rows: RowPlace[];
  /** By KV head, the limits within the rows read; false where every query reaches all of them. */
  limits: readonly (AttentionLimits | false)[];
  /** Made by the first layer that uses it. */
  call?: CapturedCall;
  dispose(): void;
}

/** One layer of a cache, and the attention over it. */
export interface CachedLayer extends Pick<AttentionLimits, "local"> {
  cache: KvCache;
  /** Its number in the cache. */
  layer: number;
  config: ModelConfig;
  reductions: readonly PatternReduction[];
  /** By KV head, windows of heads that are stored in full. */
  windows?: readonly (Window | undefined)[] | undefined;
  /** Places of tokens in the cache, shared by the layers of a forward. */
  accesses: Map<string, Access>;
}

/** The reach of a chunk's queries into the cache, beside their place. */
export interface Reach extends Pick<AttentionLimits, "local"> {
  /** True where reductions will look at key positions. */
  needPositions: boolean;
  /** By KV head, windows of heads that are stored in full. */
  windows?: readonly (Window | undefined)[] | undefined;
}

/** The same place with other entries. */
export function mapPlace<A, B>({ query, valid, slots, parts }: RowPlace<A>, change: (entry: A) => B): RowPlace<B> {
  const some = (entry: A | undefined): B | undefined => (entry === undefined ? undefined : change(entry));
  return {
    query: some(query),
    valid: some(valid),
    slots: slots.map(change),
    parts: parts.map((heads) =>
      heads.map(({ begin, size, positions }) => ({
        begin: change(begin),
        size: change(size),
        positions: some(positions),
      })),
    ),
  };
}

/** Describes the place of new tokens in a cache. */
export function describeAccess(
  tokens: Omit<NewTokens, "q" | "k" | "v">,
  layout: RowLayout,
  config: ModelConfig,
  reach: Reach,
): Access {
  const { tokens: count, starts } = tokens;
  const { needPositions, local, windows = [] } = reach;
  // One token reaches all that its cache holds, unless a window is only a mask.
  const limits = layout.windows.map((stored, g): AttentionLimits | false => {
    const window = stored ?? windows[g];
    const limited = (local !== undefined && (stored || needPositions)) || (window && !stored);
    return count === 1 && !limited ? false : { window, local };
  });
  const positioned = needPositions || limits.some((limit) => limit !== false);
  const tensors = new SharedTensors();
  const row = { count, d_head: config.d_head, looked: positioned };
  const rows = starts.map((start): RowPlace => {
    const query = positioned ? tensors.once(`query ${start}`, () => queryPositions(count, start)) : undefined;
    const valid = positioned ? tensors.once("valid", () => validity(tokens)) : undefined;
    return { query, valid, ...describeRow({ ...row, start }, layout, reach, tensors) };
  });
  return { rows, limits, dispose: () => tensors.dispose() };
}

/**
 * Tensors by what they hold, each made once. They are shared alike at every length, since the captured function depends on which
 * are.
 */
class SharedTensors {
  readonly #tensors = new Map<string, Tensor>();

  once(key: string, make: () => Tensor): Tensor {
    const tensor = this.#tensors.get(key) ?? tf.keep(make());
    this.#tensors.set(key, tensor);
    return tensor;
  }

  /** int32 numbers [n]. */
  whole(key: string, numbers: () => number[]): Tensor {
    return this.once(key, () => tf.tensor1d(numbers(), "int32"));
  }

  dispose(): void {
    tf.dispose([...this.#tensors.values()]);
  }
}

/** Slots to write and rows to read of `count` new tokens of a row, from `start` on. */
function describeRow(
  { start, count, d_head, looked: positioned }: { start: number; count: number; d_head: number; looked: boolean },
  { windows, offsets, begins }: RowLayout,
  { local, needPositions }: Reach,
  tensors: SharedTensors,
): Pick<RowPlace, "slots" | "parts"> {
  const fresh = Array.from({ length: count }, (_, t) => start + t);
  const slotsOf = (g: number): number[] => fresh.map((position) => offsets[g]! + slotOf(position, windows[g]));
  /** The rows of a head that the queries from `first` to `end` read. */
  const head = (window: Window | undefined, g: number, first: number, end: number): HeadPlace => {
    // A streaming head's chunk attends before it is written; everything else is written first.
    const ring = window !== undefined && count > 1;
    const length = ring ? start : start + end;
    // Of local attention the rows behind all of a part's queries are not read; reductions count keys from the first on.
    const moves = local !== undefined && !window && !needPositions;
    const skipped = moves ? Math.max(0, start + first + 1 - local) : 0;
    const held = slotsUsed(length, window) - skipped;
    const name = window ? `${window.sink},${window.recent}` : "full";
    const place = (keys: number): string => (local === undefined ? `${keys}` : `${start} ${end} ${name}`);
    const begin = moves ? tensors.whole(`begin ${start} ${g} ${end}`, () => [offsets[g]! + skipped, 0]) : begins[g]!;
    const size = tensors.whole(`size ${place(held)}`, () => [held, d_head]);
    if (!positioned) return { begin, size };
    const positions = tensors.once(`positions ${start} ${name} ${place(held + (ring ? count : 0))}`, () =>
      tf.tensor2d([[...heldPositions(length, window).slice(skipped), ...(ring ? fresh : [])]]),
    );
    return { begin, size, positions };
  };
  return {
    slots:
      count === 1
        ? [tensors.whole(`slots ${start}`, () => windows.flatMap((_, g) => slotsOf(g)))]
        : windows.flatMap((window, g) => (window ? [] : [tensors.whole(`slots ${start} ${g}`, () => slotsOf(g))])),
    parts: queryParts(count).map((part) =>
      windows.map((window, g) => head(window, g, part.first, part.first + part.count)),
    ),
  };
}

/** Positions of a row's tokens [tokens, 1]. */
export function queryPositions(tokens: number, start: number): Tensor {
  return tf.tensor2d(Array.from({ length: tokens }, (_, t) => [start + t]));
}

/** 1 for tokens, 0 for padding [tokens, 1]. */
export function validity({ tokens, real }: Pick<NewTokens, "tokens" | "real">): Tensor {
  return tf.tensor2d(Array.from({ length: tokens }, (_, t) => [t < real ? 1 : 0]));
}
