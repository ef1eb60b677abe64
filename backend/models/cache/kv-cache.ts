import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { ANYTHING, checkOptions, type Rules, whole } from "../../common/options.ts";
import { gatherRows, hasNative } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { readVariable, scatterRows, Variable } from "../../runtime/variable.ts";
import type { ModelConfig } from "../config.ts";
import type { Window } from "../transformer/attention.ts";

/** The slot of a position in a streaming head's buffer: the first `sink` stay, the rest go round a ring of `recent`. */
export function slotOf(position: number, window: Window | undefined): number {
  if (!window || position < window.sink) return position;
  return window.sink + ((position - window.sink) % window.recent);
}

/** Slots in use after `length` tokens. */
export function slotsUsed(length: number, window: Window | undefined): number {
  return window ? Math.min(length, window.sink + window.recent) : length;
}

/** The positions that a head holds after `length` tokens, by slot. */
export function heldPositions(length: number, window: Window | undefined): number[] {
  const slots = slotsUsed(length, window);
  return Array.from({ length: slots }, (_, slot) => {
    if (!window || slot < window.sink) return slot;
    const turns = Math.floor((length - 1 - slot) / window.recent);
    return slot + turns * window.recent;
  });
}

/** Of the positions [start, end), those that still have a slot at `end`. */
export function survivors(start: number, end: number, window: Window | undefined): number[] {
  const all = Array.from({ length: end - start }, (_, i) => start + i);
  return window ? all.filter((p) => p < window.sink || p >= end - window.recent) : all;
}

/** Keys and values of one KV head of one row. Keys are stored after the rotation. */
export interface HeadCache {
  readonly window: Window | undefined;
  /** Bytes allocated for keys and values. */
  readonly bytes: number;
  /** Keys and values by slot [slots, d_head], as new tensors. */
  read(length: number): { keys: Tensor; values: Tensor };
  /** Appends the rows [tokens, d_head] of the positions from `start` on. */
  append(start: number, keys: Tensor, values: Tensor): void;
  dispose(): void;
}

/** The places of a layer's heads in its buffers; layers of equal windows share one. */
export interface RowLayout {
  /** Tells layouts apart within a cache. */
  readonly key: string;
  readonly windows: readonly (Window | undefined)[];
  /** First slot of each head. */
  readonly offsets: readonly number[];
  /** The same as int32 [2] tensors: where a head's slice begins. */
  readonly begins: readonly Tensor[];
  readonly slots: number;
}

function rowLayout(windows: readonly (Window | undefined)[], capacity: number): RowLayout {
  const sizes = windows.map((w) => slotsUsed(capacity, w));
  const offsets = sizes.map((_, g) => sizes.slice(0, g).reduce((a, b) => a + b, 0));
  return {
    key: windows.map((w) => (w ? `${w.sink},${w.recent}` : "full")).join(" "),
    windows,
    offsets,
    begins: offsets.map((offset) => tf.keep(tf.tensor1d([offset, 0], "int32"))),
    slots: sizes.reduce((a, b) => a + b, 0),
  };
}

/** Keys and values of one row of one layer in place, in the native runtime: captured functions write and read them through their handles. */
export class NativeRow {
  readonly layout: RowLayout;
  /** [slots, d_head], the heads one after the other; values alike. */
  readonly keys: Variable;
  readonly values: Variable;

  constructor(layout: RowLayout, d_head: number) {
    this.layout = layout;
    this.keys = new Variable([layout.slots, d_head]);
    this.values = new Variable([layout.slots, d_head]);
  }

  dispose(): void {
    this.keys.dispose();
    this.values.dispose();
  }
}

/** One head's part of a native row. */
class NativeHeadCache implements HeadCache {
  readonly window: Window | undefined;
  readonly bytes: number;
  readonly #row: NativeRow;
  readonly #head: number;

  constructor(row: NativeRow, head: number, capacity: number) {
    this.#row = row;
    this.#head = head;
    this.window = row.layout.windows[head];
    this.bytes = slotsUsed(capacity, this.window) * row.keys.shape[1] * 2 * 4;
  }

  read(length: number): { keys: Tensor; values: Tensor } {
    const first = this.#row.layout.offsets[this.#head]!;
    const slice = (v: Variable): Tensor =>
      tf.tidy(() => tf.slice(readVariable(v.handle), [first, 0], [slotsUsed(length, this.window), v.shape[1]]));
    return { keys: slice(this.#row.keys), values: slice(this.#row.values) };
  }

  append(start: number, keys: Tensor, values: Tensor): void {
    const first = this.#row.layout.offsets[this.#head]!;
    tf.tidy(() => {
      const positions = survivors(start, start + keys.shape[0]!, this.window);
      const slots = tf.tensor1d(
        positions.map((p) => first + slotOf(p, this.window)),
        "int32",
      );
      const take = tf.tensor1d(
        positions.map((p) => p - start),
        "int32",
      );
      scatterRows(this.#row.keys.handle, slots, gatherRows(keys, take));
      scatterRows(this.#row.values.handle, slots, gatherRows(values, take));
    });
  }

  dispose(): void {}
}

/** A head cache of plain tensors, for backends without variables: appending makes new ones. */
class PortableHeadCache implements HeadCache {
  readonly window: Window | undefined;
  #keys: Tensor;
  #values: Tensor;

  constructor(d_head: number, window: Window | undefined) {
    this.window = window;
    this.#keys = tf.keep(tf.zeros([0, d_head]));
    this.#values = tf.keep(tf.zeros([0, d_head]));
  }

  get bytes(): number {
    return (this.#keys.size + this.#values.size) * 4;
  }

  read(length: number): { keys: Tensor; values: Tensor } {
    // Buffers that layers use in turn still hold the last one's rows at the start of the next.
    const first = (t: Tensor): Tensor => tf.slice(t, [0, 0], [slotsUsed(length, this.window), t.shape[1]!]);
    return { keys: first(this.#keys), values: first(this.#values) };
  }

  append(start: number, keys: Tensor, values: Tensor): void {
    const end = start + keys.shape[0]!;
    const index = new Map(
      [...heldPositions(start, this.window), ...Array.from({ length: end - start }, (_, i) => start + i)].map(
        (p, i) => [p, i],
      ),
    );
    const order = heldPositions(end, this.window).map((p) => index.get(p)!);
    const extend = (held: Tensor, rows: Tensor): Tensor => {
      const next = tf.tidy(() => {
        const before = slotsUsed(start, this.window);
        const all = before === 0 ? rows : tf.concat([tf.slice(held, [0, 0], [before, held.shape[1]!]), rows], 0);
        return this.window ? gatherRows(all, tf.tensor1d(order, "int32")) : tf.clone(all);
      });
      held.dispose();
      return tf.keep(next);
    };
    this.#keys = extend(this.#keys, keys);
    this.#values = extend(this.#values, values);
  }

  dispose(): void {
    this.#keys.dispose();
    this.#values.dispose();
  }
}

/** Options of a cache. */
export interface KvCacheOptions {
  /** Rows of the batch, default 1. */
  rows?: number;
  /** Tokens that a full head can hold, default the model's context. */
  capacity?: number;
  /** By layer and KV head: the window of a streaming head, or undefined for a full one. Default: all full. */
  windows?: readonly (readonly (Window | undefined)[])[];
  /** Layers held, default all of the model. */
  layers?: number;
}

const OPTIONS: Rules<KvCacheOptions> = { rows: whole(1), capacity: whole(1), layers: whole(1), windows: ANYTHING };

const WINDOW: Rules<Window> = { sink: whole(0), recent: whole(1) };

/** Insists on a window, or none, for every KV head of every layer. @throws HeadscopeError (usage) */
export function checkWindows(
  windows: readonly (readonly (Window | undefined)[])[] | undefined,
  config: ModelConfig,
): void {
  if (windows === undefined) return;
  const fits = windows.length === config.n_layers && windows.every((row) => row.length === config.n_key_value_heads);
  if (!fits)
    throw new HeadscopeError("usage", "windows are not one for every KV head of every layer", {
      remedy: `give ${config.n_layers} rows of ${config.n_key_value_heads}, undefined for a head that keeps everything`,
    });
  for (const window of windows.flat()) if (window) checkOptions("a window", window, WINDOW);
}

/**
 * Keys and values of all tokens seen, a buffer for every layer, row and KV head: full heads hold every token,
 * streaming heads the first `sink` and the last `recent`. `bytes` is what is allocated.
 */
export class KvCache {
  readonly rows: number;
  readonly capacity: number;
  /** Tokens seen, by row. */
  readonly lengths: number[];
  /** By layer, row and KV head. */
  readonly heads: readonly (readonly (readonly HeadCache[])[])[];
  /** The native buffers by layer and row; undefined on backends without variables. */
  readonly native: readonly (readonly NativeRow[])[] | undefined;
  readonly #config: ModelConfig;
  readonly #layouts = new Map<string, RowLayout>();

  constructor(config: ModelConfig, options: KvCacheOptions = {}) {
    checkOptions("a KvCache", options, OPTIONS);
    checkWindows(options.windows, config);
    this.#config = config;
    this.rows = options.rows ?? 1;
    this.capacity = options.capacity ?? config.n_ctx;
    this.lengths = new Array(this.rows).fill(0);
    const G = config.n_key_value_heads;
    const windows = Array.from({ length: options.layers ?? config.n_layers }, (_, layer) =>
      Array.from({ length: G }, (_, g) => options.windows?.[layer]?.[g]),
    );
    const perRow = <T>(make: () => T): T[] => Array.from({ length: this.rows }, make);
    if (hasNative()) {
      const native = windows.map((w) => perRow(() => new NativeRow(this.#layout(w), config.d_head)));
      this.native = native;
      this.heads = native.map((rows) =>
        rows.map((row) => Array.from({ length: G }, (_, g) => new NativeHeadCache(row, g, this.capacity))),
      );
    } else {
      this.native = undefined;
      this.heads = windows.map((w) => perRow(() => w.map((window) => new PortableHeadCache(config.d_head, window))));
    }
  }

  #layout(windows: readonly (Window | undefined)[]): RowLayout {
    const key = JSON.stringify(windows.map((w) => w ?? null));
    const layout = this.#layouts.get(key) ?? rowLayout(windows, this.capacity);
    this.#layouts.set(key, layout);
    return layout;
  }

  /** Bytes allocated for keys and values. */
  get bytes(): number {
    return this.heads.flat(2).reduce((sum, head) => sum + head.bytes, 0);
  }

  /** Bytes that the same tokens would take with every head full. */
  get bytesFull(): number {
    const tokens = hasNative() ? this.capacity * this.rows : this.lengths.reduce((a, b) => a + b, 0);
    return this.heads.length * this.#config.n_key_value_heads * tokens * this.#config.d_head * 2 * 4;
  }

  /** True where any head of a layer streams. */
  streams(layer: number): boolean {
    return this.heads[layer]![0]!.some((head) => head.window !== undefined);
  }

  /** @throws HeadscopeError (input) when `tokens` more do not fit */
  reserve(tokens: number): void {
    const longest = Math.max(...this.lengths) + tokens;
    if (longest > this.capacity) {
      throw new HeadscopeError("input", `${longest} tokens exceed the cache's ${this.capacity}`, {
        remedy: "shorten the input or make a larger cache",
      });
    }
  }

  /** Counts tokens that all layers have appended, for every row or by row. */
  advance(tokens: number | readonly number[]): void {
    for (let r = 0; r < this.rows; r++) this.lengths[r]! += typeof tokens === "number" ? tokens : tokens[r]!;
  }

  /** Frees all buffers. */
  dispose(): void {
    for (const head of this.heads.flat(2)) head.dispose();
    for (const row of this.native?.flat() ?? []) row.dispose();
    for (const layout of this.#layouts.values()) tf.dispose([...layout.begins]);
  }
}
