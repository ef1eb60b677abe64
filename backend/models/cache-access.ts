import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../runtime/tf.ts";
import type { Window } from "./attention.ts";
import type { CachedCall } from "./cached-attention.ts";
import type { ModelConfig } from "./config.ts";
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
  /** Positions of the queries [tokens, 1] and 1 for real ones, 0 for padding; only where a mask or a reduction needs them. */
  queries: Tensor[];
  /** By row: the slots to write, int32 [heads * tokens]; in a chunk of several tokens a vector for every full head. */
  slots: Tensor[][];
  /** By row, head and part of the queries: number of rows to read and their width, int32 [2]. */
  sizes: Tensor[][][];
  /** By row, head and part: positions of the keys read, then of the chunk's own for streaming heads [1, key]. */
  positions: Tensor[][][];
  /** Made by the first layer that uses it. */
  call?: CachedCall;
  dispose(): void;
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

/** Describes a chunk's place in a cache. @param needPositions whether reductions will look at key positions */
export function describeAccess(
  chunk: Omit<Chunk, "q" | "k" | "v">,
  layout: RowLayout,
  config: ModelConfig,
  needPositions: boolean,
): Access {
  const { tokens: C, starts } = chunk;
  const single = C === 1;
  const made = new Map<string, Tensor>();
  const once = (key: string, make: () => Tensor): Tensor => {
    const held = made.get(key) ?? tf.keep(make());
    made.set(key, held);
    return held;
  };
  const own = (start: number): number[] => Array.from({ length: C }, (_, t) => start + t);
  const perHead = <T>(of: (start: number, window: Window | undefined, g: number) => T): T[][] =>
    starts.map((start) => layout.windows.map((w, g) => of(start, w, g)));
  const name = (w: Window | undefined): string => (w ? `${w.sink},${w.recent}` : "full");
  // A streaming head's chunk attends before it is written; everything else is written first.
  const read = (start: number, w: Window | undefined, end: number): number => (w && !single ? start : start + end);
  const slotsFor = (start: number, g: number): number[] =>
    own(start).map((p) => layout.offsets[g]! + slotOf(p, layout.windows[g]));
  const ends = partsOf(C).map(({ first, count }) => first + count);
  return {
    queries:
      single && !needPositions
        ? []
        : [once("query", () => queryPositions(chunk)), once("valid", () => validity(chunk))],
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
    sizes: perHead((start, w) =>
      ends.map((end) => {
        const rows = slotsUsed(read(start, w, end), w);
        return once(`size ${rows}`, () => tf.tensor1d([rows, config.d_head], "int32"));
      }),
    ),
    positions: perHead((start, w) =>
      single && !needPositions
        ? []
        : ends.map((end) => {
            const held = heldPositions(read(start, w, end), w);
            const all = w && !single ? [...held, ...own(start)] : held;
            return once(`positions ${start} ${name(w)} ${all.length}`, () => tf.tensor2d([all]));
          }),
    ),
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
