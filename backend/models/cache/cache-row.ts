import { HeadscopeError } from "../../common/errors.ts";
import type { ModelConfig } from "../config.ts";
import type { Window } from "../transformer/attention.ts";
import { type CacheForm, FormCodings } from "./forms/form.ts";
import type { SampledPage } from "./forms/kvquant.ts";
import { HeadCache } from "./heads/head-cache.ts";
import type { WholePage } from "./heads/head-rows.ts";
import type { CacheStorage } from "./storage/storage.ts";

/** Pages of each KV head that a form learns from, at most: those in equal distances. */
const SAMPLED = 8;

/** One row of a cache: keys and values of a sequence, by layer and KV head, and how many tokens it has seen. */
export class CacheRow {
  /** By layer and KV head. */
  readonly heads: readonly (readonly HeadCache[])[];
  #length = 0;
  #skipped = 0;
  /** Made when a page is first put into codes. */
  #codings: FormCodings | undefined;

  /** @param like has seen the same tokens */
  constructor(heads: readonly (readonly HeadCache[])[], like?: CacheRow) {
    this.heads = heads;
    if (!like) return;
    this.#length = like.#length;
    this.#skipped = like.#skipped;
    this.#codings = like.#codings?.fork();
  }

  /** A row that has seen nothing. @param windows by layer and KV head */
  static empty(storage: CacheStorage, windows: readonly (readonly (Window | undefined)[])[]): CacheRow {
    return new CacheRow(windows.map((layer) => layer.map((window) => new HeadCache(storage, window))));
  }

  /** Positions up to now: tokens seen, without those that a new numbering has left out. */
  get length(): number {
    return this.#length;
  }

  /** Tokens left out. */
  get skipped(): number {
    return this.#skipped;
  }

  /** Tokens seen. */
  get seen(): number {
    return this.#length + this.#skipped;
  }

  /** Bytes allocated for keys and values. */
  get bytes(): number {
    return this.heads.flat().reduce((sum, head) => sum + head.bytes, 0);
  }

  /** True where a KV head has a row that stands for several tokens. */
  get summarises(): boolean {
    return this.heads.flat().some(({ summarised }) => summarised > 0);
  }

  /** By layer and KV head, the channels that are left of keys that were pruned; undefined where none were. @param width of a head */
  channels(width: number): number[][][] | undefined {
    if (this.heads.flat().every(({ channels }) => channels === undefined)) return undefined;
    const all = Array.from({ length: width }, (_, channel) => channel);
    return this.heads.map((layer) => layer.map(({ channels }) => [...(channels ?? all)]));
  }

  /** The same tokens in a row of its own, which shares pages until either is to write them. */
  fork(storage: CacheStorage): CacheRow {
    const heads = this.heads.map((layer) => layer.map((head) => new HeadCache(storage, head.window, head)));
    return new CacheRow(heads, this);
  }

  /** The same tokens, all heads being full, in a row whose streaming heads keep what their windows hold. @param windows by layer and KV head */
  streaming(storage: CacheStorage, windows: readonly (readonly (Window | undefined)[])[]): CacheRow {
    const heads = this.heads.map((layer, l) =>
      layer.map((head, g) => {
        const window = windows[l]![g];
        return window ? HeadCache.streaming(head, this.#length, window) : new HeadCache(storage, undefined, head);
      }),
    );
    return new CacheRow(heads, this);
  }

  /** Counts tokens whose keys and values all layers have written. */
  advance(tokens: number): void {
    this.#length += tokens;
  }

  /** Counts tokens that restored heads have left out in a new numbering of their positions. */
  skip(tokens: number): void {
    this.#skipped += tokens;
  }

  /** Puts pages that are whole and lie behind the recent tokens into codes. @param storage that has them */
  encode(form: CacheForm, config: ModelConfig, storage: CacheStorage): void {
    this.heads.forEach((heads, layer) => {
      const whole = heads.map((head) => head.rows.wholePages(this.#length, form.recent));
      if (whole.every((pages) => pages.length === 0)) return;
      this.#codings ??= new FormCodings(config, form);
      const codings = this.#codings;
      const sample = (): SampledPage[] => whole.flatMap((pages) => sampled(pages, storage));
      heads.forEach((head, g) => {
        for (const each of whole[g]!) {
          const coding = codings.of(layer, { number: each.number, rows: each.page.rows }, sample);
          head.rows.replace(each, storage.code!(each.page, coding, each.positions));
        }
      });
    });
  }

  /** @throws HeadscopeError (unsupported) where a streaming head has let go of what it would hold of fewer tokens */
  checkTruncation(): void {
    for (const head of this.heads.flat()) head.checkTruncation(this.#length);
  }

  /** Forgets what lies behind the first `tokens`, fewer than it has seen: the next one comes right behind the longest head. */
  truncate(tokens: number): void {
    const heads = this.heads.flat();
    const ends = heads.map((head) => head.endOf(tokens, this.#skipped));
    const to = Math.max(...ends);
    heads.forEach((head, i) => {
      head.truncate(this.#length, ends[i]!);
      if (ends[i]! < to) head.countOn(to);
    });
    this.#length = to;
    this.#skipped = tokens - to;
  }

  /**
   * Numbers what it holds anew, from 0 on without gaps, so that the next token comes right behind: keys are left as they are.
   * @throws HeadscopeError (usage) where heads hold different numbers of tokens, or stream
   */
  renumber(): void {
    const heads = this.heads.flat();
    const counts = new Set(heads.map((head) => head.positions(this.#length).length));
    if (counts.size !== 1 || heads.some(({ window }) => window))
      throw new HeadscopeError("usage", "only heads that hold as many tokens, and don't stream, can be numbered anew", {
        remedy: "let as many tokens go from each head",
      });
    for (const head of heads) head.renumber(this.#length, this.#skipped);
    const [count] = [...counts] as [number];
    this.#skipped += this.#length - count;
    this.#length = count;
  }

  /** Says which tokens of its text it has seen, where those are some only. @param tokens by position, ascending @param seen tokens of the text */
  standFor(tokens: readonly number[], seen: number): void {
    for (const head of this.heads.flat()) head.standFor(tokens);
    this.#skipped = seen - this.#length;
  }

  /** Frees all pages that nobody else holds. */
  dispose(): void {
    for (const head of this.heads.flat()) head.dispose();
  }
}

/** Pages of a KV head that a form learns from, with their numbers. */
function sampled(pages: readonly WholePage[], storage: CacheStorage): SampledPage[] {
  const step = Math.max(1, pages.length / SAMPLED);
  return Array.from({ length: Math.min(pages.length, SAMPLED) }, (_, i) => pages[Math.floor(i * step)]!).map(
    ({ number, page, positions }) => {
      const { keys, values } = storage.read(Int32Array.of(page.id, 0, 0, page.rows));
      const sampled = {
        keys: keys.dataSync() as Float32Array,
        values: values.dataSync() as Float32Array,
        positions,
        firstRows: number === 0 ? 1 : 0,
      };
      keys.dispose();
      values.dispose();
      return sampled;
    },
  );
}
