import type { CacheKind } from "../../../backend/common/words.ts";
import { readRows, writeRows } from "../../../backend/kernels/attend.ts";
import type { Coding } from "../../../backend/kernels/coding.ts";
import { Page } from "../../../backend/kernels/pages.ts";
import { type HeadPlaces, type Span, slotsOf, spansOf } from "../../../backend/kernels/places.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import type { HeldRows } from "./reference-attention.ts";

/** Numbered rows of keys and values, and the pages that they are put in. */
export class PagedRows {
  pages: readonly Page[];
  readonly #pageRows: number;

  /** @param keys, values [rows, d] @param pageRows of a page */
  constructor(kind: CacheKind, d: number, { keys, values, pageRows = 90, channels }: RowsToHold) {
    const rows = keys.length / d;
    this.#pageRows = pageRows;
    this.pages = Array.from({ length: Math.ceil(rows / pageRows) || 1 }, () => Page.make(kind, d, pageRows, channels));
    const slots = this.pages.map((page, p) => {
      return { page, row: 0, token: p * pageRows, count: Math.min(pageRows, rows - p * pageRows) };
    });
    tf.tidy(() => {
      const [k, v] = [keys, values].map((x) => tf.tensor3d(x, [rows, 1, d]));
      writeRows({ keys: k!, values: v!, layer: tf.scalar(0, "int32"), slots: slotsOf([[slots]], rows) });
    });
  }

  /** Puts the pages into codes. @returns what the rows stand for then, [rows, d] */
  encode(coding: Coding): Pick<RowsToHold, "keys" | "values"> {
    const plain = this.pages;
    this.pages = plain.map((page) => page.coded(coding));
    for (const page of plain) page.release();
    const spans = this.pages.map((page) => ({ page, row: 0, position: 0, count: page.rows }));
    return tf.tidy(() => {
      const { keys, values } = readRows(spansOf(spans));
      return { keys: keys.dataSync() as Float32Array, values: values.dataSync() as Float32Array };
    });
  }

  /** Spans of numbered rows, cut where a page ends. */
  places({ spans, ...rest }: HeldRows): HeadPlaces {
    return { ...rest, spans: spans.flatMap((span) => this.#cut(span)) };
  }

  release(): void {
    for (const page of this.pages) page.release();
  }

  #cut({ row, position, count }: HeldRows["spans"][number]): Span[] {
    const [p, within] = [Math.floor(row / this.#pageRows), row % this.#pageRows];
    const now = Math.min(count, this.#pageRows - within);
    const span = { page: this.pages[p] ?? this.pages[0]!, row: within, position, count: now };
    if (now === count) return [span];
    return [span, ...this.#cut({ row: row + now, position: position + now, count: count - now })];
  }
}

interface RowsToHold {
  keys: Float32Array;
  values: Float32Array;
  pageRows?: number | undefined;
  /** Of the keys that are held; default all. */
  channels?: readonly number[] | undefined;
}

/** Keys whose other channels are 0. @param keys [rows, d] */
export function withChannels(keys: Float32Array, d: number, channels: readonly number[] | undefined): Float32Array {
  return channels ? keys.map((x, i) => (channels.includes(i % d) ? x : 0)) : keys;
}
