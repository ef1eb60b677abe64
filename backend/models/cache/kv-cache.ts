import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { ANYTHING, checkOptions, listOf, oneOf, type Rule, type Rules, whole } from "../../common/options.ts";
import { counted } from "../../common/text.ts";
import { CACHE_KINDS, type CacheKind } from "../../common/words.ts";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";
import type { Window } from "../transformer/attention.ts";
import { requireAttention } from "../transformer/mixers/index.ts";
import { requireEqualHeads } from "../transformer/unequal-heads.ts";
import { CacheRow } from "./cache-row.ts";
import { type CacheForm, describeForm } from "./forms/form.ts";
import type { HeadCache, HeldBytes } from "./heads/head-cache.ts";
import { rowsAllocated } from "./page-rows.ts";
import { type CacheStorage, concatenated, type StoredRows } from "./storage/storage.ts";
import { storageOf } from "./storage/storages.ts";
import { checkWindows } from "./window.ts";

/** Options of a cache. */
export interface KvCacheOptions {
  /** Rows of the batch, default 1. */
  rows?: number;
  /** Tokens that a row may hold at most, default the model's context. Memory grows with what is held. */
  capacity?: number;
  /** By layer and KV head: the window of a streaming head, or undefined for a full one. Default: all full. */
  windows?: readonly (readonly (Window | undefined)[])[];
  /** Layers held, default all of the model. */
  layers?: number;
  /** Form of keys and values: float32 (the default), half precision, or codes of 8 or 4 bits, which need the kernels. */
  kind?: CacheKind;
  /**
   * Codes for what lies behind the recent tokens, once `encode` is called; they need the kernels, and the rest in numbers ("f32" or
   * "f16"). Default: none.
   */
  form?: CacheForm | undefined;
}

const OPTIONS: Rules<KvCacheOptions> = {
  rows: whole(1),
  capacity: whole(1),
  layers: whole(1),
  windows: ANYTHING,
  kind: oneOf(CACHE_KINDS),
  form: ANYTHING,
};

/** Keys and values that one KV head of one row holds. */
export interface HeldRows {
  /** [held, d_head], rotated where the model rotates; the values alike. */
  keys: Tensor;
  values: Tensor;
  /** By row of these, its position. */
  positions: number[];
}

/** One KV head of a cache. */
export interface HeadPlace {
  readonly layer: number;
  readonly row: number;
  readonly head: number;
}

/**
 * Keys and values of all tokens seen, for every layer, row and KV head: full heads hold every token, streaming heads the first
 * `sink` and the last `recent`, and either what an eviction has left. They lie in pages, which are allocated as tokens come;
 * a fork shares them until one of the two writes.
 */
export class KvCache {
  readonly capacity: number;
  readonly layers: number;
  readonly storage: CacheStorage;
  /** By layer and KV head. */
  readonly windows: readonly (readonly (Window | undefined)[])[];
  readonly #config: ModelConfig;
  readonly #options: KvCacheOptions;
  #form: CacheForm | undefined;
  #rows: CacheRow[];

  constructor(config: ModelConfig, options: KvCacheOptions = {}) {
    checkOptions("a KvCache", options, OPTIONS);
    requireAttention(config, "a cache of keys and values");
    requireEqualHeads(config, "a cache of keys and values");
    checkWindows(options.windows, config);
    this.#config = config;
    this.#options = options;
    this.capacity = options.capacity ?? config.n_ctx;
    this.layers = options.layers ?? config.n_layers;
    this.storage = storageOf(options.kind ?? "f32", config);
    this.setForm(options.form);
    this.windows = Array.from({ length: this.layers }, (_, layer) =>
      Array.from({ length: config.n_key_value_heads }, (_, g) => options.windows?.[layer]?.[g]),
    );
    this.#rows = Array.from({ length: options.rows ?? 1 }, () => CacheRow.empty(this.storage, this.windows));
  }

  /** Caches' rows side by side in one, in their order; the caches are empty afterwards. @throws HeadscopeError (usage) where they are not alike */
  static join(caches: readonly KvCache[]): KvCache {
    const [first] = caches;
    if (!first || caches.some((other) => other.#shape !== first.#shape) || new Set(caches).size < caches.length)
      throw new HeadscopeError(
        "usage",
        "only caches of one model, with the same windows, of one kind and form, can be joined",
        {
          remedy: "give at least one cache, and each once",
        },
      );
    const capacity = Math.max(...caches.map((cache) => cache.capacity));
    return first.#with(
      caches.flatMap((cache) => cache.#rows.splice(0)),
      capacity,
    );
  }

  /** Rows of the batch. */
  get rows(): number {
    return this.#rows.length;
  }

  /** The position of the next token, by row: tokens seen, unless positions were numbered anew. */
  get lengths(): readonly number[] {
    return this.#rows.map(({ length }) => length);
  }

  /** Tokens seen, by row. */
  get seen(): readonly number[] {
    return this.#rows.map(({ seen }) => seen);
  }

  /** Form of keys and values. */
  get kind(): CacheKind {
    return this.storage.kind;
  }

  /** Codes that it puts whole pages into, behind the recent tokens. */
  get form(): CacheForm | undefined {
    return this.#form;
  }

  /**
   * Says what it puts whole pages into from here on; it has no form yet, or this one.
   * @throws HeadscopeError (unsupported) without kernels, (usage) for a cache in codes or another form
   */
  setForm(form: CacheForm | undefined): void {
    if (form === undefined || JSON.stringify(form) === JSON.stringify(this.#form)) return;
    const refuse = (kind: "unsupported" | "usage", why: string, remedy: string) =>
      new HeadscopeError(kind, `keys and values can't be held in ${describeForm(form)}: ${why}`, { remedy });
    if (this.#form) throw refuse("usage", `the cache is in ${describeForm(this.#form)}`, "read the prompt again");
    if (!this.storage.code)
      throw refuse("unsupported", "that needs the kernels", "`headscope doctor` says why there are none");
    if (this.kind !== "f32" && this.kind !== "f16")
      throw refuse("usage", `the cache is in ${this.kind} already`, "cache in f32 or f16, or leave the form out");
    this.#form = form;
  }

  /**
   * Puts pages that are whole and lie behind the recent tokens into codes, where the cache has a form; their numbers are rounded.
   * @param rows default all
   */
  encode(rows: Iterable<number> = this.#rows.keys()): void {
    const form = this.#form;
    if (!form) return;
    for (const r of rows) this.#rows[r]!.encode(form, this.#config, this.storage);
  }

  /** By layer and KV head of a row, the channels that are left of keys that were pruned; undefined where none were. */
  channels(row: number): number[][][] | undefined {
    return this.#rows[row]!.channels(this.#config.d_head);
  }

  /** True where a KV head has a row that stands for several tokens. */
  get summarises(): boolean {
    return this.#rows.some(({ summarises }) => summarises);
  }

  /** Bytes allocated for keys and values; pages that forks share count in each. */
  get bytes(): number {
    return this.#rows.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Bytes that the same tokens would take with every head full, and no page in codes. */
  get bytesFull(): number {
    const perHead = this.seen.reduce((sum, tokens) => sum + rowsAllocated(tokens), 0) * this.storage.rowBytes;
    return this.layers * this.#config.n_key_value_heads * perHead;
  }

  /** The cache of one KV head. @throws HeadscopeError (usage) where there is none */
  head(layer: number, row: number, head: number): HeadCache {
    const found = this.#rows[row]?.heads[layer]?.[head];
    if (found) return found;
    const { n_key_value_heads: heads } = this.#config;
    throw new HeadscopeError("usage", `the cache has no layer ${layer}, row ${row}, KV head ${head}`, {
      remedy: `it has ${this.layers} layers, ${this.rows} rows and ${heads} KV heads, counted from 0`,
    });
  }

  /** Insists that it is for the layers below `stopLayer` of a model. @throws HeadscopeError (usage) where it is not */
  checkModel(config: ModelConfig, stopLayer: number): void {
    if (this.rows === 0)
      throw new HeadscopeError(
        "usage",
        "the cache has no rows any more: it was disposed or joined with others, or a forward that failed took what its streaming heads held",
        { remedy: "make another, or fork this one before" },
      );
    const shape = ({ n_layers, n_key_value_heads, d_head }: ModelConfig): string =>
      `${n_layers} layers of ${n_key_value_heads} KV heads of width ${d_head}`;
    const [own, wanted] = [this.#config, config].map(shape);
    if (own !== wanted)
      throw new HeadscopeError("usage", `the cache is for a model with ${own}, not ${wanted}`, {
        remedy: "make it with the config of the model that is run",
      });
    if (stopLayer > this.layers)
      throw new HeadscopeError("usage", `the cache is for ${this.layers} layers, and the forward runs ${stopLayer}`, {
        remedy: "make a cache of more layers, or stop earlier",
      });
  }

  /** Insists that new tokens fit, of every row or by row. @throws HeadscopeError (input) where they do not */
  reserve(tokens: number | readonly number[]): void {
    const longest = Math.max(...this.#rows.map(({ length }, r) => length + byRow(tokens, r)));
    if (longest > this.capacity) {
      throw new HeadscopeError("input", `${longest} tokens exceed the cache's ${this.capacity}`, {
        remedy: "shorten the input or make a larger cache",
      });
    }
  }

  /** Makes room for new tokens, of every row or by row, in pages that no other cache holds. @param layers default all */
  prepare(tokens: number | readonly number[], layers: Iterable<number> = this.windows.keys()): void {
    for (const layer of layers)
      this.#rows.forEach(({ length, heads }, r) => {
        for (const head of heads[layer]!) head.rows.prepare(length, length + byRow(tokens, r));
      });
  }

  /**
   * Makes room for positions that are counted already, in layers that don't hold them yet.
   * @param positions ascending, by row
   * @throws HeadscopeError (usage) for positions that a head holds or the cache does not count, and streaming heads
   */
  admit(positions: readonly (readonly number[])[], layers: Iterable<number>): void {
    for (const layer of layers)
      this.#rows.forEach(({ length, heads }, r) => {
        for (const head of heads[layer]!) head.admit(length, positions[r]!);
      });
  }

  /** One row as a cache: what becomes of it there becomes of it here. */
  rowOf(row: number): KvCache {
    this.#checkRows([row]);
    return this.#with([this.#rows[row]!]);
  }

  /** Counts tokens of a row that restored heads have left out in a new numbering of their positions. */
  skip(row: number, tokens: number): void {
    this.#checkRows([row]);
    this.#rows[row]!.skip(tokens);
  }

  /** Counts tokens whose keys and values all layers have written, for every row or by row. */
  advance(tokens: number | readonly number[]): void {
    this.#rows.forEach((row, r) => {
      row.advance(byRow(tokens, r));
    });
  }

  /** The same tokens in a cache of their own, of all rows or of one: pages are shared, and copied once either is to write them. */
  fork(row?: number): KvCache {
    if (row !== undefined) this.#checkRows([row]);
    const forked = row === undefined ? this.#rows : [this.#rows[row]!];
    return this.#with(forked.map((each) => each.fork(this.storage)));
  }

  /**
   * The same tokens in a cache with streaming heads, which keep what their windows hold; full heads share their pages with this one.
   * @throws HeadscopeError (usage) where heads of this cache stream already
   */
  streaming(windows: NonNullable<KvCacheOptions["windows"]>): KvCache {
    if (this.windows.flat().some((window) => window !== undefined))
      throw new HeadscopeError("usage", "a cache with streaming heads can't be given other windows", {
        remedy: "start from one whose heads are all full",
      });
    const cache = new KvCache(this.#config, { ...this.#options, form: this.#form, rows: 1, windows });
    cache.#rows = this.#rows.map((row) => row.streaming(this.storage, cache.windows));
    return cache;
  }

  /** Keeps these rows, in this order, and frees the others. */
  take(rows: readonly number[]): void {
    this.#checkRows(rows);
    const kept = rows.map((row) => this.#rows[row]!);
    for (const row of this.#rows) if (!kept.includes(row)) row.dispose();
    this.#rows = kept;
  }

  /**
   * Forgets what lies behind the first `length` tokens, of every row or by row. Where positions were numbered anew the next token
   * comes right behind the longest head.
   * @throws HeadscopeError (usage) for lengths that cannot be, (unsupported) where a streaming head has let go of what it would hold
   *   then; nothing is changed
   */
  truncate(length: number | readonly number[]): void {
    checkOptions("truncate", { length }, { length: this.#eachRow }, ["length"]);
    const shortened = this.#rows
      .map((row, r) => ({ row, tokens: byRow(length, r) }))
      .filter(({ row, tokens }) => tokens < row.seen);
    for (const { row } of shortened) row.checkTruncation();
    for (const { row, tokens } of shortened) row.truncate(tokens);
  }

  /** Forgets, of one KV head, all positions but those given. @throws HeadscopeError (usage) for positions that it does not hold */
  evict(layer: number, row: number, head: number, positions: readonly number[]): void {
    this.head(layer, row, head).evict(this.lengths[row]!, positions);
  }

  /** Forgets some positions of one KV head: cheap where they are few. @throws HeadscopeError (usage) for positions that it does not hold */
  drop(layer: number, row: number, head: number, positions: readonly number[]): void {
    this.head(layer, row, head).drop(this.lengths[row]!, positions);
  }

  /**
   * Holds the keys so far of one full KV head in some of their channels alone: later tokens' have all. Dropped channels are read as 0.
   * @param channels ascending; all leave the keys as they are
   * @throws HeadscopeError (usage) for a head that streams
   */
  pruneKeys({ layer, row, head }: HeadPlace, channels: readonly number[]): void {
    const own = this.head(layer, row, head);
    if (own.window)
      throw new HeadscopeError("usage", "the keys of a streaming head can't be pruned: new tokens take their places", {
        remedy: "prune those of full heads",
      });
    if (channels.length < this.#config.d_head) own.prune(this.lengths[row]!, channels);
    else own.noteChannels(channels);
  }

  /**
   * Puts keys and values in the place of those of positions that one KV head holds.
   * @param positions ascending @param rows [positions, d_head] of the caller's
   * @throws HeadscopeError (usage) for positions that it does not hold
   */
  write({ layer, row, head }: HeadPlace, positions: readonly number[], rows: StoredRows): void {
    this.head(layer, row, head).write(this.lengths[row]!, positions, rows);
  }

  /**
   * Numbers what a row holds anew, from 0 on without gaps, so that the next token comes right behind: keys are left as they are.
   * @throws HeadscopeError (usage) where heads hold different numbers of tokens, or stream
   */
  renumber(row: number): void {
    this.#checkRows([row]);
    this.#rows[row]!.renumber();
  }

  /**
   * Says which tokens of its text a row has seen, where it has seen some of them only: its positions are theirs, one after the other.
   * @param tokens by position, ascending @param seen tokens of the text
   */
  standFor(row: number, tokens: readonly number[], seen: number): void {
    this.#checkRows([row]);
    this.#rows[row]!.standFor(tokens, seen);
  }

  /** The tokens that one KV head holds, ascending: its positions, unless they were numbered anew. */
  tokens(layer: number, row: number, head: number): number[] {
    const { length, skipped } = this.#rows[row]!;
    return this.head(layer, row, head).origins(length, skipped);
  }

  /** The positions that one KV head holds, ascending. */
  positions(layer: number, row: number, head: number): number[] {
    return this.head(layer, row, head).positions(this.#rows[row]!.length);
  }

  /** Keys, values and positions of one KV head. @returns tensors of the caller's */
  read(layer: number, row: number, head: number): HeldRows {
    return this.head(layer, row, head).read(this.lengths[row]!);
  }

  /**
   * Keys and values of KV heads of a layer that hold as many tokens, read in one go.
   * @param first of each head's that is read @returns tensors of the caller's [heads, held - first, d_head]
   */
  readTogether({ layer, row, heads }: { layer: number; row: number; heads: readonly number[] }, first = 0): StoredRows {
    const { length } = this.#rows[row]!;
    const spans = heads.flatMap((head) => this.head(layer, row, head).rowSpans(length, first));
    return tf.tidy(() => {
      const { keys, values } = this.storage.read(concatenated(spans));
      const byHead = (rows: Tensor): Tensor => tf.reshape(rows, [heads.length, -1, this.#config.d_head]);
      return { keys: byHead(keys), values: byHead(values) };
    });
  }

  /** Keys and values of some of the positions that one KV head holds. @param positions ascending @returns tensors of the caller's */
  readAt(place: HeadPlace, positions: readonly number[]): StoredRows {
    const extents = this.head(place.layer, place.row, place.head).extents(this.lengths[place.row]!);
    const wanted = new Set(positions);
    const spans = extents.flatMap(({ page, row, position, count }) =>
      Array.from({ length: count }, (_, i) => i)
        .filter((i) => wanted.has(position + i))
        .flatMap((i) => [page.id, row + i, position + i, 1]),
    );
    return this.storage.read(Int32Array.from(spans));
  }

  /** The same as it is held. */
  dump(layer: number, row: number, head: number): HeldBytes {
    return this.head(layer, row, head).dump(this.lengths[row]!);
  }

  /** Puts what `dump` gave into a KV head of an empty row, before `advance`. @returns false for positions that it would not hold */
  restore(layer: number, head: number, length: number, held: HeldBytes): boolean {
    return this.head(layer, 0, head).restore(length, held);
  }

  /** Frees all pages that nobody else holds. */
  dispose(): void {
    for (const row of this.#rows.splice(0)) row.dispose();
  }

  /** A cache like this one with other rows. */
  #with(rows: CacheRow[], capacity = this.capacity): KvCache {
    const cache = new KvCache(this.#config, { ...this.#options, form: this.#form, rows: 1, capacity });
    cache.#rows = rows;
    return cache;
  }

  /** A text that caches have in common whose rows can lie in one. */
  get #shape(): string {
    const { layers, kind, windows, storage } = this;
    const { n_layers, n_key_value_heads, d_head } = this.#config;
    return JSON.stringify([
      layers,
      kind,
      storage.rowBytes,
      this.#form ?? null,
      windows.map((row) => row.map((w) => w ?? null)),
      n_layers,
      n_key_value_heads,
      d_head,
    ]);
  }

  /** A whole number, or a list of one for every row. */
  get #eachRow(): Rule {
    const number = whole(0);
    const isList = (lengths: unknown): boolean => listOf(number).fits(lengths) && (lengths as []).length === this.rows;
    return {
      wants: `${number.wants}, or one for each of ${counted(this.rows, "row")}`,
      fits: (lengths) => number.fits(lengths) || isList(lengths),
    };
  }

  #checkRows(rows: readonly number[]): void {
    const bad = rows.find((row, i) => !(row in this.#rows) || rows.indexOf(row) !== i);
    if (bad !== undefined || rows.length === 0)
      throw new HeadscopeError("usage", `${bad === undefined ? "no row" : `row ${bad}`} of the cache can't be taken`, {
        remedy: `choose one or more of 0 to ${this.rows - 1}, each once`,
      });
  }
}

function byRow(tokens: number | readonly number[], row: number): number {
  return typeof tokens === "number" ? tokens : tokens[row]!;
}
