import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";
import type { Window } from "../transformer/attention.ts";
import type { CachedCall } from "./captured-attention.ts";
import { heldPositions, type RowLayout, slotOf, slotsUsed } from "./kv-cache.ts";

/** A chunk of new tokens on its way through a layer: q [rows * tokens, heads, d_head], k and v [rows * tokens, kv heads, d_head]. */
export interface Chunk {
  q: Tensor;
  k: Tensor;
  v: Tensor;
  /** Tokens of a row in these tensors, padding included. */
  tokens: number;
  /** Tokens that are no padding. */
  real: number;
  /** Position of the first token, by row. */
  starts: readonly number[];
}

/** The tensors that say where a chunk's keys and values lie in rows of one layout: made once a forward, shared by its layers. */
export interface Access {
  /** By row: positions of the queries [tokens, 1] and 1 for real ones, 0 for padding; only where a mask or a reduction needs them. */
  queries: Tensor[][];
  /** By row: the slots to write, int32 [heads * tokens]; in a chunk of several tokens a vector for every full head. */
  slots: Tensor[][];
  /** By row, head and part of the queries: where the rows to read begin, int32 [2]. */
  begins: Tensor[][][];
  /** Alike: number of rows to read and their width, int32 [2]. */
  sizes: Tensor[][][];
  /** By row, head and part: positions of the keys read, then of the chunk's own for streaming heads [1, key]. */
  positions: Tensor[][][];
  /** By head: what of the rows read each query may attend to; false where it is all of them. */
  masks: readonly (HeadMask | false)[];
  /** Made by the first layer that uses it. */
  call?: CachedCall;
  dispose(): void;
}

/** Limits of a head's attention beside causality. */
export interface HeadMask {
  window: Window | undefined;
  /** Keys that a query reaches, in a layer of local attention. */
  local: number | undefined;
}

/** What decides how a chunk's queries reach into the cache, beside their place. */
export interface Reaching {
  /** Whether reductions will look at key positions. */
  needPositions: boolean;
  /** Keys that a query reaches, its own included, in a layer of local attention. */
  local?: number | undefined;
  /** By KV head, windows of heads that are stored in full. */
  windows?: readonly (Window | undefined)[] | undefined;
}

/** Queries that share one product: scores of more do not stay in the processor's cache, and reach past the diagonal. */
const PART = 128;

/** The parts of a chunk's queries: first and count. */
export function partsOf(tokens: number): { first: number; count: number }[] {
  return Array.from({ length: Math.ceil(tokens / PART) }, (_, j) => ({
    first: j * PART,
    count: Math.min(PART, tokens - j * PART),
  }));
}

/** Describes a chunk's place in a cache. */
export function describeAccess(
  chunk: Omit<Chunk, "q" | "k" | "v">,
  layout: RowLayout,
  config: ModelConfig,
  { needPositions, local, windows = [] }: Reaching,
): Access {
  const { tokens: C, starts } = chunk;
  const single = C === 1;
  const made = new Map<string, Tensor>();
  const once = (key: string, make: () => Tensor): Tensor => {
    const held = made.get(key) ?? tf.keep(make());
    made.set(key, held);
    return held;
  };
  // One token reaches all that its cache holds, unless a window is only a mask.
  const masks = layout.windows.map((stored, g): HeadMask | false => {
    const window = stored ?? windows[g];
    const limited = (local !== undefined && (stored || needPositions)) || (window && !stored);
    return single && !limited ? false : { window, local };
  });
  const looked = needPositions || masks.some((mask) => mask !== false);
  const own = (start: number): number[] => Array.from({ length: C }, (_, t) => start + t);
  const perHead = <T>(of: (start: number, window: Window | undefined, g: number) => T): T[][] =>
    starts.map((start) => layout.windows.map((w, g) => of(start, w, g)));
  const name = (w: Window | undefined): string => (w ? `${w.sink},${w.recent}` : "full");
  // A streaming head's chunk attends before it is written; everything else is written first.
  const read = (start: number, w: Window | undefined, end: number): number => (w && !single ? start : start + end);
  const slotsFor = (start: number, g: number): number[] =>
    own(start).map((p) => layout.offsets[g]! + slotOf(p, layout.windows[g]));
  const parts = partsOf(C).map(({ first, count }) => ({ first, end: first + count }));
  // Of local attention the rows behind all of a part's queries are not read; reductions count keys from the first on.
  const firstRead = (start: number, w: Window | undefined, first: number): number =>
    local === undefined || w || needPositions ? 0 : Math.max(0, start + first + 1 - local);
  // Tensors are shared alike at every length, since the captured function depends on which are.
  const place = (start: number, w: Window | undefined, end: number, held: number): string =>
    local === undefined ? `${held}` : `${start} ${end} ${name(w)}`;
  return {
    queries: starts.map((start) =>
      looked
        ? [
            once(`query ${start}`, () => queryPositions({ tokens: C, starts: [start] })),
            once("valid", () => validity(chunk)),
          ]
        : [],
    ),
    slots: single
      ? starts.map((start) => [
          once(`slots ${start}`, () =>
            tf.tensor1d(
              layout.windows.flatMap((_, g) => slotsFor(start, g)),
              "int32",
            ),
          ),
        ])
      : perHead((start, w, g) =>
          w ? [] : [once(`slots ${start} ${g}`, () => tf.tensor1d(slotsFor(start, g), "int32"))],
        ).map((row) => row.flat()),
    begins: perHead((start, w, g) =>
      parts.map(({ first, end }) => {
        if (local === undefined || w || needPositions) return layout.begins[g]!;
        const begin = layout.offsets[g]! + firstRead(start, w, first);
        return once(`begin ${start} ${g} ${end}`, () => tf.tensor1d([begin, 0], "int32"));
      }),
    ),
    sizes: perHead((start, w) =>
      parts.map(({ first, end }) => {
        const rows = slotsUsed(read(start, w, end), w) - firstRead(start, w, first);
        return once(`size ${place(start, w, end, rows)}`, () => tf.tensor1d([rows, config.d_head], "int32"));
      }),
    ),
    positions: perHead((start, w) =>
      !looked
        ? []
        : parts.map(({ first, end }) => {
            const held = heldPositions(read(start, w, end), w).slice(firstRead(start, w, first));
            const all = w && !single ? [...held, ...own(start)] : held;
            return once(`positions ${start} ${name(w)} ${place(start, w, end, all.length)}`, () => tf.tensor2d([all]));
          }),
    ),
    masks,
    dispose: () => tf.dispose([...made.values()]),
  };
}

/** Positions of the first row's tokens [tokens, 1]; rows that start elsewhere are handled by their accesses. */
export function queryPositions(chunk: Pick<Chunk, "tokens" | "starts">): Tensor {
  return tf.tensor2d(Array.from({ length: chunk.tokens }, (_, t) => [chunk.starts[0]! + t]));
}

/** 1 for tokens, 0 for padding [tokens, 1]. */
export function validity(chunk: Pick<Chunk, "tokens" | "real">): Tensor {
  return tf.tensor2d(Array.from({ length: chunk.tokens }, (_, t) => [t < chunk.real ? 1 : 0]));
}
