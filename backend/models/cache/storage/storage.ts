import type { Tensor } from "@tensorflow/tfjs";
import type { CacheKind } from "../../../common/words.ts";
import type { AttentionCall } from "../../../kernels/attend.ts";
import type { Coding } from "../../../kernels/coding.ts";
import { tf } from "../../../runtime/tf.ts";

/** Whole numbers in rows, for the kernels and for JavaScript. */
export class Table {
  readonly numbers: Int32Array;
  readonly shape: readonly number[];
  #tensor: Tensor | undefined;

  constructor(numbers: Int32Array, shape: readonly number[]) {
    this.numbers = numbers;
    this.shape = shape;
  }

  /** The same as an int32 tensor of the table's. */
  get tensor(): Tensor {
    this.#tensor ??= tf.keep(tf.tensor(this.numbers, [...this.shape], "int32"));
    return this.#tensor;
  }

  dispose(): void {
    this.#tensor?.dispose();
  }
}

/** Lists of whole numbers as one. */
export function concatenated(lists: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(lists.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  for (const list of lists) {
    all.set(list, end);
    end += list.length;
  }
  return all;
}

/** Memory for rows of keys and as many of values of one KV head. Several caches may hold a page; it is freed when none does. */
export interface CachePage {
  /** Its number, by which tables of places name it. */
  readonly id: number;
  readonly rows: number;
  readonly bytes: number;
  /** Its holders: one may write, several must copy first. */
  readonly holders: number;
  /** True for rows in codes, which nobody may write. */
  readonly inCodes: boolean;
  retain(): CachePage;
  release(): void;
}

/** New tokens' keys and values [rows * tokens, kv heads, d_head] of one layer, and its number in the tables of places. */
export interface NewRows {
  k: Tensor;
  v: Tensor;
  layer: number;
}

/** Keys and values of several rows [rows, d_head]. */
export interface StoredRows {
  keys: Tensor;
  values: Tensor;
}

/** Keys and values of several rows as they are held [rows, bytes of a row]. */
export interface StoredBytes {
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
}

/** The pages of caches of one kind and width: in the kernels' own memory, or as plain tensors. */
export interface CacheStorage {
  readonly kind: CacheKind;
  /** Bytes of a row's key and value in pages of its own. */
  readonly rowBytes: number;
  /** A page of the caller's. */
  page(rows: number): CachePage;
  /** Copies rows as they are held, or what codes and fewer channels stand for. */
  copyRows(from: CachePage, to: CachePage, rows: { from: number; to: number; count: number }): void;
  /** Writes new tokens' rows to their slots: of each layer, token and KV head a page and a row, or -1 for one that is not kept. */
  write(tokens: NewRows, slots: Table): void;
  /** Reads rows. @param spans of each a page, a row, the position of that row, and a count */
  read(spans: Int32Array): StoredRows;
  /** A page of the caller's with the rows of another in codes, where the storage can do that. @param positions of the rows */
  code?(page: CachePage, coding: Coding, positions: Int32Array): CachePage;
  /** Channels that its pages' keys have, ascending, where these are not all: the others are read as 0. */
  readonly channels: readonly number[] | undefined;
  /** The storage of pages whose keys have some channels alone; their rows are written, read and copied as those of this one. */
  ofChannels(channels: readonly number[]): CacheStorage;
  /** Bytes of a row of keys, and of one of values, without what fills it up. */
  readonly heldBytes: { readonly keys: number; readonly values: number };
  /** Copies rows of a page. */
  dump(page: CachePage, row: number, count: number): StoredBytes;
  /** Puts rows as `dump` gave them into a page. */
  restore(page: CachePage, row: number, bytes: StoredBytes): void;
  /**
   * Attention over pages where they lie, where the storage can do that.
   * @returns z [rows * tokens, heads, d_head] and, where wanted, the pattern [rows * tokens, heads, positions up to the last query's]
   */
  attend?(call: AttentionCall, wantsPattern: boolean): { z: Tensor; pattern?: Tensor };
}
