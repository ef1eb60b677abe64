import type { Tensor } from "@tensorflow/tfjs";
import type { Window } from "../transformer/attention.ts";
import type { HeadCache } from "./heads/head-cache.ts";
import type { KvCache } from "./kv-cache.ts";
import { PAGE } from "./page-rows.ts";
import { type CachePage, concatenated, Table } from "./storage/storage.ts";
import { survives } from "./window.ts";

/** New tokens of a stretch that go through a layer together. */
export interface NewTokens {
  /** Tokens of a row in the tensors, padding included. */
  tokens: number;
  /** By row, the position of the first. */
  starts: readonly number[];
  /** By row, the position behind its last token so far; not behind its start where the row has ended before. */
  ends: readonly number[];
  /** By row, positions among those held; default one after the other from the start on. */
  among?: readonly AdmittedTokens[] | undefined;
}

/** Tokens of one row that lie among others. */
export interface AdmittedTokens {
  /** Ascending. */
  readonly positions: readonly number[];
  /** Number of the row's last slots that are theirs and of tokens behind them, which go through the layer later. */
  readonly slots: number;
}

/** The reach of a layer's queries into a cache. */
export interface LayerReach {
  /** Its number in the cache. */
  layer: number;
  /** By KV head, windows of heads that are stored in full. */
  windows?: readonly (Window | undefined)[] | undefined;
  /** Last positions that a query reaches at all, in a layer of local attention. */
  local?: number | undefined;
}

/** Pages by row and KV head for a stretch's keys and values of streaming heads, used by one layer after the other. */
export class ChunkPages {
  readonly #cache: KvCache;
  readonly #rows: number;
  readonly #pages = new Map<string, CachePage>();

  /** @param rows of a page: the most tokens of a stretch */
  constructor(cache: KvCache, rows: number) {
    this.#cache = cache;
    this.#rows = rows;
  }

  of(row: number, head: number): CachePage {
    const key = `${row} ${head}`;
    const page = this.#pages.get(key) ?? this.#cache.storage.page(this.#rows);
    this.#pages.set(key, page);
    return page;
  }

  dispose(): void {
    for (const page of this.#pages.values()) page.release();
    this.#pages.clear();
  }
}

/** Places of all layers as the kernels take them. */
export interface PlaceTables {
  positions: Tensor;
  lists: Tensor;
  spans: Tensor;
  slots: Tensor;
}

/** The same, and the layer that is meant. */
export interface PlaceTensors extends PlaceTables {
  layer: Tensor;
}

/**
 * The places of new tokens in a cache, of all layers of a forward: where their keys and values go, and what their queries reach.
 * A streaming head's ring has no room for both the new tokens and those that they push out, which the first of them still see:
 * such tokens pass through a page beside the ring, and those that survive are written into it after the attention.
 */
export class Places {
  readonly tokens: NewTokens;
  /** By layer of the forward. */
  readonly reaches: readonly LayerReach[];
  /** [rows, tokens]: positions of the queries. */
  readonly positions: Table;
  /** [layers, rows, KV heads, 5]: first span, spans, window (0: all), sink, local (0: all). */
  readonly lists: Table;
  /** [spans, 4]: page, row in it, position of that row, count. */
  readonly spans: Table;
  /** [layers, rows * tokens, KV heads, 2]: page and row of a new key and value before the attention; page -1: none. */
  readonly slots: Table;
  /** The same after the attention; undefined where all is written before it. */
  readonly late: Table | undefined;
  /** Numbers of layers, by themselves and in lists. */
  readonly #layers = new Map<string, Table>();

  /** @param cache whose pages are prepared for these tokens */
  constructor(cache: KvCache, tokens: NewTokens, reaches: readonly LayerReach[], pages: ChunkPages) {
    const { tokens: T, starts, ends, among } = tokens;
    const heads = cache.windows[0]!.length;
    const lists: number[] = [];
    const spans = new SpanTable();
    const slots = new SlotTable([reaches.length, starts.length * T, heads, 2]);
    const late = new SlotTable(slots.shape);
    const visit = (l: number, r: number, g: number): void => {
      const { layer, windows, local = 0 } = reaches[l]!;
      const head = cache.head(layer, r, g);
      const [start, end] = [starts[r]!, ends[r]!];
      const [first, token] = [spans.count, l * starts.length * T + r * T];
      const { recent = 0, sink = 0 } = head.window ?? windows?.[g] ?? {};
      const admitted = among?.[r];
      if (admitted) {
        const length = cache.lengths[r]!;
        const slot = head.rows.slotOf(length) - admitted.slots;
        spans.add(head.spans(length).map((list) => spansBefore(list, end)));
        admitted.positions.forEach((_, t) => {
          slots.put((token + t) * heads + g, head.rows.pageOf(slot + t), (slot + t) % PAGE);
        });
        lists.push(first, spans.count - first, recent, sink, local);
        return;
      }
      const passing = T > 1 && end > start && displaces(head, end);
      spans.add(head.spans(passing ? start : end));
      if (passing) {
        const page = pages.of(r, g);
        spans.add([Int32Array.of(page.id, 0, start, end - start)]);
        for (let t = 0; t < end - start; t++) slots.put((token + t) * heads + g, page, t);
      }
      const target = passing ? late : slots;
      for (let position = start; position < end; position++) {
        if (passing && !survives(position, end, head.window)) continue;
        const slot = head.rows.slotOf(position);
        target.put((token + position - start) * heads + g, head.rows.pageOf(slot), slot % PAGE);
      }
      lists.push(first, spans.count - first, recent, sink, local);
    };
    for (let l = 0; l < reaches.length; l++)
      for (let r = 0; r < starts.length; r++) for (let g = 0; g < heads; g++) visit(l, r, g);
    const positions = starts.flatMap((start, r) => {
      const own = among?.[r]?.positions;
      return Array.from({ length: T }, (_, t) => (own ? (own[t] ?? own.at(-1)!) : start + t));
    });
    this.tokens = tokens;
    this.reaches = reaches;
    this.positions = new Table(Int32Array.from(positions), [starts.length, T]);
    this.lists = new Table(Int32Array.from(lists), [reaches.length, starts.length, heads, 5]);
    this.spans = spans.table();
    this.slots = slots.table()!;
    this.late = late.table();
  }

  /** The spans of one KV head. @param layer of the forward, counted from its first */
  spansOf(layer: number, row: number, head: number): Int32Array {
    const [first, count] = this.limitsOf(layer, row, head);
    return this.spans.numbers.subarray(4 * first!, 4 * (first! + count!));
  }

  /** The list of one KV head [5], as `lists` has it. @param layer of the forward, counted from its first */
  limitsOf(layer: number, row: number, head: number): Int32Array {
    const [, rows, heads] = this.lists.shape as [number, number, number];
    const i = (layer * rows + row) * heads + head;
    return this.lists.numbers.subarray(5 * i, 5 * (i + 1));
  }

  /** The tables for the kernels, and the number of a layer of the forward in them. */
  tensors(layer: number): PlaceTensors {
    return { ...this.tables, layer: this.#numbered(`${layer}`, () => new Table(Int32Array.of(layer), [])) };
  }

  /** The tables for the kernels. */
  get tables(): PlaceTables {
    const { positions, lists, spans, slots } = this;
    return { positions: positions.tensor, lists: lists.tensor, spans: spans.tensor, slots: slots.tensor };
  }

  /** Numbers of layers of the forward in the tables, int32 [layers]. */
  layersOf(layers: readonly number[]): Tensor {
    return this.#numbered(`[${layers}]`, () => new Table(Int32Array.from(layers), [layers.length]));
  }

  #numbered(key: string, make: () => Table): Tensor {
    const table = this.#layers.get(key) ?? make();
    this.#layers.set(key, table);
    return table.tensor;
  }

  dispose(): void {
    for (const table of [...this.#layers.values(), this.positions, this.lists, this.spans, this.slots, this.late])
      table?.dispose();
  }
}

/** Spans of one KV head after the other. */
class SpanTable {
  readonly #lists: Int32Array[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** @param lists [n, 4] */
  add(lists: readonly Int32Array[]): void {
    for (const list of lists) {
      this.#lists.push(list);
      this.#count += list.length / 4;
    }
  }

  table(): Table {
    return new Table(concatenated(this.#lists), [this.#count, 4]);
  }
}

/** Pages and rows by new token and KV head, none at first. */
class SlotTable {
  readonly shape: readonly number[];
  #numbers: Int32Array | undefined;

  constructor(shape: readonly number[]) {
    this.shape = shape;
  }

  put(index: number, page: CachePage, row: number): void {
    this.#numbers ??= new Int32Array(this.shape.reduce((a, b) => a * b)).fill(-1);
    this.#numbers[2 * index] = page.id;
    this.#numbers[2 * index + 1] = row;
  }

  /** Undefined where nothing was put. */
  table(): Table | undefined {
    return this.#numbers && new Table(this.#numbers, this.shape);
  }
}

/** The parts of spans with positions below an end. @param spans [n, 4] */
function spansBefore(spans: Int32Array, end: number): Int32Array {
  const before: number[] = [];
  for (let i = 0; i < spans.length; i += 4) {
    const count = Math.min(spans[i + 3]!, end - spans[i + 2]!);
    if (count > 0) before.push(spans[i]!, spans[i + 1]!, spans[i + 2]!, count);
  }
  return Int32Array.from(before);
}

/** Says that a head lets go of positions by the time it has seen `end`. */
function displaces({ window }: HeadCache, end: number): boolean {
  return window !== undefined && end > window.sink + window.recent;
}
