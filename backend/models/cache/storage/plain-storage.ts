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
  /** Of its keys, where these are not all. */
  readonly channels: readonly number[] | undefined;
  /** [rows, channels] */
  keys: Tensor;
  /** [rows, d_head] */
  values: Tensor;
  #holders = 1;

  constructor(rows: number, width: number, channels: readonly number[] | undefined) {
    this.rows = rows;
    this.channels = channels;
    this.keys = tf.keep(tf.zeros([rows, channels?.length ?? width]));
    this.values = tf.keep(tf.zeros([rows, width]));
    pages.set(this.id, this);
  }

  get bytes(): number {
    return 4 * (this.keys.size + this.values.size);
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

  /** Rows of keys with all channels, of which those that it has not are 0. @returns a tensor of the tidy around it */
  wholeKeys(first: number, count: number): Tensor {
    return wholeKeys(rowsOf(this.keys, first, count), this.channels, this.values.shape[1]!);
  }

  /** Puts rows of other tensors in the place of its own. @param keys with all channels @param rows by row of theirs, the row here */
  replace(whole: Tensor, values: Tensor, rows: readonly number[]): void {
    const order = Array.from({ length: this.rows }, (_, row) => row);
    rows.forEach((row, i) => {
      order[row] = this.rows + i;
    });
    const replaced = tf.tidy(() => {
      const keys = this.channels ? tf.gather(whole, tf.tensor1d([...this.channels], "int32"), 1) : whole;
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
  readonly heldBytes: CacheStorage["heldBytes"];
  readonly channels: readonly number[] | undefined;

  /** @param width of a head @param channels of the keys, ascending; default all */
  constructor(width: number, channels?: readonly number[]) {
    this.width = width;
    this.channels = channels && channels.length < width ? channels : undefined;
    this.heldBytes = { keys: 4 * (this.channels?.length ?? width), values: 4 * width };
    this.rowBytes = this.heldBytes.keys + this.heldBytes.values;
  }

  ofChannels(channels: readonly number[]): CacheStorage {
    return new PlainStorage(this.width, channels);
  }

  page(rows: number): CachePage {
    return new PlainPage(rows, this.width, this.channels);
  }

  copyRows(from: CachePage, to: CachePage, rows: { from: number; to: number; count: number }): void {
    const source = pages.get(from.id)!;
    tf.tidy(() => {
      const into = Array.from({ length: rows.count }, (_, i) => rows.to + i);
      const keys = source.wholeKeys(rows.from, rows.count);
      pages.get(to.id)!.replace(keys, rowsOf(source.values, rows.from, rows.count), into);
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
    const all = (rows: (page: PlainPage, first: number, count: number) => Tensor): Tensor => {
      const slices = parts.map(([id, row, , count]) => rows(pages.get(id!)!, row!, count!));
      return slices.length === 0 ? tf.zeros([0, this.width]) : tf.concat(slices, 0);
    };
    return tf.tidy(() => ({
      keys: all((page, first, count) => page.wholeKeys(first, count)),
      values: all((page, first, count) => rowsOf(page.values, first, count)),
    }));
  }

  dump(page: CachePage, row: number, count: number): StoredBytes {
    const { keys, values } = pages.get(page.id)!;
    const part = (t: Tensor): Uint8Array => {
      const rows = tf.tidy(() => tf.slice(t, [row, 0], [count, t.shape[1]!]).dataSync()) as Float32Array;
      return new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength);
    };
    return { keys: part(keys), values: part(values) };
  }

  restore(page: CachePage, row: number, { keys, values }: StoredBytes): void {
    const count = values.length / this.heldBytes.values;
    const rows = (bytes: Uint8Array, width: number): Tensor =>
      tf.tensor2d(new Float32Array(bytes.buffer, bytes.byteOffset, count * width), [count, width]);
    tf.tidy(() => {
      const into = Array.from({ length: count }, (_, i) => row + i);
      const own = wholeKeys(rows(keys, this.channels?.length ?? this.width), this.channels, this.width);
      pages.get(page.id)!.replace(own, rows(values, this.width), into);
    });
  }
}

/** Rows of a page; the page itself where they are all, since long caches are made of whole pages. */
function rowsOf(page: Tensor, first: number, count: number): Tensor {
  return count === page.shape[0] ? page : tf.slice(page, [first, 0], [count, page.shape[1]!]);
}

/** Keys with all channels, of which those that are not held are 0. @param keys [rows, channels] */
function wholeKeys(keys: Tensor, channels: readonly number[] | undefined, width: number): Tensor {
  if (!channels) return keys;
  const places = Array.from({ length: width }, (_, c) => {
    const place = channels.indexOf(c);
    return place < 0 ? channels.length : place; // a column of zeros behind the others
  });
  return tf.gather(tf.pad(keys, [[0, 0], [0, 1]]), tf.tensor1d(places, "int32"), 1); // biome-ignore format: one call
}
