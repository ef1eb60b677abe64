import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../../runtime/tf.ts";
import type { Stretch } from "../kinds/reads.ts";

/** Places outside of the cache where values can lie. */
export const OFFLOADS = ["memory", "disk"] as const;
/** One of `OFFLOADS`. */
export type Offload = (typeof OFFLOADS)[number];

/** One layer's values: the file's offset where they are on disk, and their shape. */
interface PutLayer {
  readonly numbers: Float32Array | undefined;
  readonly offset: number;
  readonly tokens: number;
}

/** Values of a prompt outside of the cache: in plain memory, or in a temporary file, which goes with it. */
export class OffloadedValues {
  readonly #width: number;
  readonly #layers = new Map<number, PutLayer>();
  readonly #folder: string | undefined;
  #file: number | undefined;
  #bytes = 0;

  /** @param width of a head */
  constructor(offload: Offload, width: number) {
    this.#width = width;
    if (offload !== "disk") return;
    this.#folder = mkdtempSync(join(tmpdir(), "headscope-values-"));
    this.#file = openSync(join(this.#folder, "values"), "wx+", 0o600);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Puts a layer's values. @param values [KV heads, tokens, d_head] */
  put(layer: number, values: Tensor): void {
    const numbers = values.dataSync() as Float32Array;
    const [offset, file] = [this.#bytes, this.#file];
    if (file !== undefined)
      writeAll(file, new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength), offset);
    const own = file === undefined ? numbers.slice() : undefined;
    this.#layers.set(layer, { numbers: own, offset, tokens: values.shape[1]! });
    this.#bytes += numbers.byteLength;
  }

  /** Rows of places by KV head [places, KV heads, d_head]. @param places as many in each */
  fetch(layer: number, places: readonly (readonly Stretch[])[]): Tensor {
    const { numbers, offset, tokens } = this.#layers.get(layer)!;
    const [heads, width] = [places.length, this.#width];
    const count = places[0]!.reduce((sum, [first, end]) => sum + end - first, 0);
    const rows = new Float32Array(count * heads * width);
    const buffer = new Float32Array(width * Math.max(...places.flat().map(([first, end]) => end - first)));
    places.forEach((list, g) => {
      let row = 0;
      for (const [first, end] of list) {
        const from = (g * tokens + first) * width;
        const part = numbers
          ? numbers.subarray(from, from + (end - first) * width)
          : this.#readFile(buffer.subarray(0, (end - first) * width), offset + 4 * from);
        for (let i = first; i < end; i++, row++)
          rows.set(part.subarray((i - first) * width, (i - first + 1) * width), (row * heads + g) * width);
      }
    });
    return tf.tensor3d(rows, [count, heads, width]);
  }

  dispose(): void {
    this.#layers.clear();
    if (this.#file === undefined) return;
    closeSync(this.#file);
    this.#file = undefined;
    rmSync(this.#folder!, { recursive: true, force: true });
  }

  #readFile(into: Float32Array, position: number): Float32Array {
    const bytes = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
    for (let done = 0; done < bytes.length; ) {
      const read = readSync(this.#file!, bytes, done, bytes.length - done, position + done);
      if (read === 0) throw new Error("the file of offloaded values ended early");
      done += read;
    }
    return into;
  }
}

function writeAll(file: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, position + done);
}
