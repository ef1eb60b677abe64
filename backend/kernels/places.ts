import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../runtime/tf.ts";
import type { Page } from "./pages.ts";

/** Rows of a page one after the other, which hold keys and values of consecutive positions. */
export interface Span {
  readonly page: Page;
  readonly row: number;
  readonly position: number;
  readonly count: number;
}

/** The places of one KV head of a sequence, in the order of attention's columns. */
export interface HeadPlaces {
  readonly spans: readonly Span[];
  /** Last positions that a query sees, itself included; default all. */
  readonly window?: number | undefined;
  /** First positions that it sees beside its window; default 0. */
  readonly sink?: number | undefined;
  /** Last positions that a query reaches at all, itself included, in a layer of local attention; default all. */
  readonly local?: number | undefined;
}

/** Places as the kernels read them, of all layers. */
export interface Places {
  /** int32 [layers, sequences, KV heads, 5]: first span, spans, window (0: all), sink, local (0: all). */
  readonly lists: Tensor;
  /** int32 [spans, 4]: page, row, position, count. */
  readonly spans: Tensor;
}

const LIST = 5;
const SPAN = 4;

/**
 * Writes places out for the kernels.
 * @param layers by layer, sequence and KV head, as many of each
 * @returns tensors of the caller's
 */
export function placesOf(layers: readonly (readonly (readonly HeadPlaces[])[])[]): Places {
  const heads = layers.flat(2);
  const lists = new Int32Array(heads.length * LIST);
  const total = heads.reduce((sum, { spans }) => sum + spans.length, 0);
  let first = 0;
  heads.forEach((head, h) => {
    const { length } = head.spans;
    lists.set([first, length, head.window ?? 0, head.sink ?? 0, head.local ?? 0], h * LIST);
    first += length;
  });
  const shape: [number, number, number, number] = [
    layers.length,
    layers[0]?.length ?? 0,
    layers[0]?.[0]?.length ?? 0,
    LIST,
  ];
  return {
    lists: tf.tensor4d(lists, shape, "int32"),
    spans: spanTable(
      heads.map(({ spans }) => spans),
      total,
    ),
  };
}

/** int32 [spans, 4] of spans one after the other: what `readRows` takes. */
export function spansOf(spans: readonly Span[]): Tensor {
  return spanTable([spans], spans.length);
}

function spanTable(lists: readonly (readonly Span[])[], total: number): Tensor {
  const table = new Int32Array(total * SPAN);
  let at = 0;
  for (const spans of lists)
    for (const { page, row, position, count } of spans) {
      table[at++] = page.id;
      table[at++] = row;
      table[at++] = position;
      table[at++] = count;
    }
  return tf.tensor2d(table, [total, SPAN], "int32");
}

/** Rows of a page one after the other, which take the keys and values of the tokens from `token` on. */
export interface Slots {
  readonly page: Page;
  readonly row: number;
  /** Number of the token within the pass, over all sequences. */
  readonly token: number;
  readonly count: number;
}

/**
 * Writes out where the tokens of a pass go. What no slot is for is not kept.
 * @param layers by layer and KV head
 * @param tokens of the pass, over all sequences
 * @returns int32 [layers, tokens, KV heads, 2]: page, row; page -1 where a token is not kept
 */
export function slotsOf(layers: readonly (readonly (readonly Slots[])[])[], tokens: number): Tensor {
  const heads = layers[0]?.length ?? 0;
  const table = new Int32Array(layers.length * tokens * heads * 2).fill(-1);
  layers.forEach((ofLayer, l) => {
    ofLayer.forEach((slots, g) => {
      for (const { page, row, token, count } of slots)
        for (let i = 0; i < count; i++) {
          const at = 2 * ((l * tokens + token + i) * heads + g);
          table[at] = page.id;
          table[at + 1] = row + i;
        }
    });
  });
  return tf.tensor4d(table, [layers.length, tokens, heads, 2], "int32");
}
