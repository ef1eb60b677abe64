import type { Tensor } from "@tensorflow/tfjs";
import type { KvCache } from "./kv-cache.ts";
import type { NewTokens, Places } from "./places.ts";
import type { PromptAttention } from "./prompt-attention.ts";
import { concatenated, Table } from "./storage/storage.ts";

/** A layer's new tokens before they attend over a cache, which holds their keys and values already. */
export interface AttentionStep {
  readonly layer: number;
  /** After the rotation [rows * tokens, heads, d_head]. */
  readonly q: Tensor;
  readonly tokens: NewTokens;
  readonly cache: KvCache;
  /** All that a KV head of a row holds for these tokens, [n, 4]: page, row in it, position of that row, count. */
  spansOf(row: number, head: number): Int32Array;
}

/** The part that new tokens read of what a layer holds. */
export interface AttentionChoice {
  /**
   * By row and KV head, the spans that are read: parts of those held, or rows of pages of the reader's own. A query sees those of
   * positions up to its own. Default: all that is held.
   */
  readonly spans?: readonly (readonly Int32Array[])[] | undefined;
  /** bool [heads or 1, ceil(tokens / 64), ceil(columns / 64)]: squares that are read, as `AttentionCall` has them. Default: all. */
  readonly blocks?: Tensor | undefined;
  /**
   * Numbers added to the scores of keys for the queries behind them, of one row [KV heads, positions up to the last new token's]: -1e9
   * for a key that its own query alone sees. Attended to by plain tensors. Default: none.
   */
  readonly behind?: Tensor | undefined;
  /** The attention itself, where the reader has worked it out [tokens, heads, d_head]; nobody may look at its pattern then. */
  readonly z?: Tensor | undefined;
}

/** Chooses what attention reads of a cache, layer by layer, once the queries are there. */
export interface AttentionReader {
  /** True for layers in which it chooses; the others run as ever. */
  reaches(layer: number): boolean;
  /** Runs in a tidy. @returns undefined where all is read */
  choose(step: AttentionStep): AttentionChoice | undefined;
  /**
   * Sees all new tokens of a forward of one row before the first of them attends; a layer that is surveyed projects all of its chunks
   * first. Runs in a tidy.
   * @returns whether `choose` is to be asked at all in this layer
   */
  survey?(prompt: PromptAttention): boolean;
}

/** The spans of a choice as tables of one layer, for the kernels. */
export class ChosenSpans {
  readonly #rows: readonly (readonly Int32Array[])[];
  readonly #lists: Table;
  readonly #spans: Table;
  readonly #layer = new Table(Int32Array.of(0), []);

  /** @param places whose windows go on to hold @param index of the layer there */
  constructor(rows: readonly (readonly Int32Array[])[], places: Places, index: number) {
    const heads = rows[0]!.length;
    let first = 0;
    const lists = rows.flatMap((row, r) =>
      row.flatMap((spans, g) => {
        const [, , ...limits] = places.limitsOf(index, r, g);
        first += spans.length / 4;
        return [first - spans.length / 4, spans.length / 4, ...limits];
      }),
    );
    this.#rows = rows;
    this.#lists = new Table(Int32Array.from(lists), [1, rows.length, heads, 5]);
    this.#spans = new Table(concatenated(rows.flat()), [first, 4]);
  }

  spansOf(row: number, head: number): Int32Array {
    return this.#rows[row]![head]!;
  }

  get tensors(): { lists: Tensor; spans: Tensor; layer: Tensor } {
    return { lists: this.#lists.tensor, spans: this.#spans.tensor, layer: this.#layer.tensor };
  }

  dispose(): void {
    for (const table of [this.#lists, this.#spans, this.#layer]) table.dispose();
  }
}
