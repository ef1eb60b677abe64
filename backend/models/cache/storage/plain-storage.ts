import type { Tensor } from "@tensorflow/tfjs";
import { gatherRows } from "../../../runtime/ops.ts";
import { tf } from "../../../runtime/tf.ts";
import type { CachePage, CacheStorage, NewRows, StoredBytes, StoredRows, Table } from "./storage.ts";

let serial = 0;
/** Every page there is, by number: caches of one width may share them. */
const pages = new Map<number, PlainPage>();

/** A page of plain tensors: a write makes new ones. */
class PlainPage implements CachePage {
  readonly id = serial++;
  readonly inCodes = false;
  readonly rows: number;
  /** [rows, d_head], as are the values. */
  keys: Tensor;
  values: Tensor;
  #holders = 1;

  constructor(rows: number, width: number) {
    this.rows = rows;
    this.keys = tf.keep(tf.zeros([rows, width]));
    this.values = tf.keep(tf.zeros([rows, width]));
    pages.set(this.id, this);
  }

  get bytes(): number {
    return 2 * 4 * this.keys.size;
  }

  get holders(): number {
    return this.#holders;
  }

  retain(): CachePage {
    this.#holders++;
    return this;
  }

  release(): void {
    if (--this.#holders > 0) return;
    tf.dispose([this.keys, this.values]);
    pages.delete(this.id);
  }

  /** Puts rows of other tensors in the place of its own. @param rows by row of theirs, the row here */
  replace(keys: Tensor, values: Tensor, rows: readonly number[]): void {
    const order = Array.from({ length: this.rows }, (_, row) => row);
    rows.forEach((row, i) => {
      order[row] = this.rows + i;
    });
    const replaced = tf.tidy(() => {
      const index = tf.tensor1d(order, "int32");
      return [gatherRows(tf.concat([this.keys, keys]), index), gatherRows(tf.concat([this.values, values]), index)];
    }) as [Tensor, Tensor];
    tf.dispose([this.keys, this.values]);
    [this.keys, this.values] = replaced.map((t) => tf.keep(t)) as [Tensor, Tensor];
  }
}

/** Keys and values as plain float32 tensors: for backends without the kernels, and to hold the kernels against. */
export class PlainStorage implements CacheStorage {
  readonly kind = "f32";
  readonly width: number;
  readonly rowBytes: number;
  readonly heldBytes: number;

  /** @param width of a head */
  constructor(width: number) {
    this.width = width;
    this.rowBytes = 2 * 4 * width;
    this.heldBytes = 4 * width;
  }

  page(rows: number): CachePage {
    return new PlainPage(rows, this.width);
  }

  copyRows(from: CachePage, to: CachePage, rows: { from: number; to: number; count: number }): void {
    const source = pages.get(from.id)!;
    tf.tidy(() => {
      const part = (t: Tensor): Tensor => rowsOf(t, rows.from, rows.count);
      const into = Array.from({ length: rows.count }, (_, i) => rows.to + i);
      pages.get(to.id)!.replace(part(source.keys), part(source.values), into);
    });
  }

  write({ k, v, layer }: NewRows, { numbers }: Table): void {
    const size = k.shape[0]! * k.shape[1]!;
    const writes = new Map<number, { from: number[]; rows: number[] }>();
    for (let i = 0; i < size; i++) {
      const place = 2 * (layer * size + i);
      const [id, row] = [numbers[place]!, numbers[place + 1]!];
      if (id < 0) continue;
      const write = writes.get(id) ?? { from: [], rows: [] };
      write.from.push(i);
      write.rows.push(row);
      writes.set(id, write);
    }
    tf.tidy(() => {
      const [keys, values] = [k, v].map((t) => tf.reshape(t, [size, this.width])) as [Tensor, Tensor];
      for (const [id, { from, rows }] of writes) {
        const index = tf.tensor1d(from, "int32");
        pages.get(id)!.replace(gatherRows(keys, index), gatherRows(values, index), rows);
      }
    });
  }

  read(spans: Int32Array): StoredRows {
    const parts = Array.from({ length: spans.length / 4 }, (_, i) => spans.subarray(4 * i, 4 * i + 4));
    const all = (of: "keys" | "values"): Tensor => {
      const slices = parts.map(([id, row, , count]) => rowsOf(pages.get(id!)![of], row!, count!));
      return slices.length === 0 ? tf.zeros([0, this.width]) : tf.concat(slices, 0);
    };
    return tf.tidy(() => ({ keys: all("keys"), values: all("values") }));
  }

  dump(page: CachePage, row: number, count: number): StoredBytes {
    const { keys, values } = pages.get(page.id)!;
    const part = (t: Tensor): Uint8Array => {
      const rows = tf.tidy(() => tf.slice(t, [row, 0], [count, this.width]).dataSync()) as Float32Array;
      return new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength);
    };
    return { keys: part(keys), values: part(values) };
  }

  restore(page: CachePage, row: number, { keys, values }: StoredBytes): void {
    const count = keys.length / this.heldBytes;
    const rows = (bytes: Uint8Array): Tensor =>
      tf.tensor2d(new Float32Array(bytes.buffer, bytes.byteOffset, count * this.width), [count, this.width]);
    tf.tidy(() => {
      const into = Array.from({ length: count }, (_, i) => row + i);
      pages.get(page.id)!.replace(rows(keys), rows(values), into);
    });
  }
}

/** Rows of a page; the page itself where they are all, since long caches are made of whole pages. */
function rowsOf(page: Tensor, first: number, count: number): Tensor {
  return count === page.shape[0] ? page : tf.slice(page, [first, 0], [count, page.shape[1]!]);
}
