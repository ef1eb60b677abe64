import type { Tensor } from "@tensorflow/tfjs";
import type { CacheKind } from "../../../common/words.ts";
import { type AttentionCall, attend, attendWithPattern, readRows, writeRows } from "../../../kernels/attend.ts";
import type { Coding } from "../../../kernels/coding.ts";
import { cacheRowBytes, keyRowBytes, Page } from "../../../kernels/pages.ts";
import { tf } from "../../../runtime/tf.ts";
import type { CachePage, CacheStorage, NewRows, StoredBytes, StoredRows, Table } from "./storage.ts";

/** Keys and values in the kernels' own memory, in float32 or fewer bits. */
export class PagedStorage implements CacheStorage {
  readonly kind: CacheKind;
  readonly width: number;
  readonly rowBytes: number;
  readonly heldBytes: CacheStorage["heldBytes"];
  readonly channels: readonly number[] | undefined;

  /** @param width of a head @param channels of the keys, ascending; default all */
  constructor(kind: CacheKind, width: number, channels?: readonly number[]) {
    this.kind = kind;
    this.width = width;
    this.channels = channels && channels.length < width ? channels : undefined;
    const held = this.channels?.length ?? width;
    this.rowBytes = keyRowBytes(kind, width, held) + cacheRowBytes(kind, width);
    const number = { f32: 4, f16: 2, q8: undefined, q4: undefined }[kind]; // bytes, where rows are numbers
    this.heldBytes = {
      keys: number === undefined ? keyRowBytes(kind, width, held) : number * held,
      values: number === undefined ? cacheRowBytes(kind, width) : number * width,
    };
  }

  ofChannels(channels: readonly number[]): CacheStorage {
    return new PagedStorage(this.kind, this.width, channels);
  }

  page(rows: number): CachePage {
    return Page.make(this.kind, this.width, rows, this.channels);
  }

  copyRows(from: CachePage, to: CachePage, rows: { from: number; to: number; count: number }): void {
    (to as Page).copyRows(from as Page, rows);
  }

  code(page: CachePage, coding: Coding, positions: Int32Array): CachePage {
    return (page as Page).coded(coding, positions);
  }

  write({ k, v, layer }: NewRows, slots: Table): void {
    tf.tidy(() => {
      writeRows({ keys: k, values: v, layer: tf.scalar(layer, "int32"), slots: slots.tensor });
    });
  }

  read(spans: Int32Array): StoredRows {
    // Of no rows at all the kernels know no width.
    if (spans.length === 0) return { keys: tf.zeros([0, this.width]), values: tf.zeros([0, this.width]) };
    return tf.tidy(() => readRows(tf.tensor2d(spans, [spans.length / 4, 4], "int32"))) as {
      keys: Tensor;
      values: Tensor;
    };
  }

  attend(call: AttentionCall, wantsPattern: boolean): { z: Tensor; pattern?: Tensor } {
    return wantsPattern ? attendWithPattern(call) : { z: attend(call) };
  }

  dump(page: CachePage, row: number, count: number): StoredBytes {
    const { keyBytes, rowBytes } = page as Page;
    const bytes = (page as Page).read(row, count);
    const end = count * keyBytes;
    return {
      keys: spread(bytes.subarray(0, end), { count, from: keyBytes, to: this.heldBytes.keys }),
      values: spread(bytes.subarray(end), { count, from: rowBytes, to: this.heldBytes.values }),
    };
  }

  restore(page: CachePage, row: number, { keys, values }: StoredBytes): void {
    const { keyBytes, rowBytes } = page as Page;
    const count = values.length / this.heldBytes.values;
    const rows = [
      spread(keys, { count, from: this.heldBytes.keys, to: keyBytes }),
      spread(values, { count, from: this.heldBytes.values, to: rowBytes }),
    ];
    (page as Page).fill(row, Buffer.concat(rows));
  }
}

/** Rows of `from` bytes as rows of `to`: cut, or filled up with zeros. */
function spread(rows: Uint8Array, { count, from, to }: { count: number; from: number; to: number }): Uint8Array {
  if (from === to) return rows;
  const out = new Uint8Array(count * to);
  for (let row = 0; row < count; row++) out.set(rows.subarray(row * from, row * from + Math.min(from, to)), row * to);
  return out;
}
