import { HeadscopeError } from "../../../common/errors.ts";
import type { KvCache } from "../../../models/cache/kv-cache.ts";
import { PAGE } from "../../../models/cache/page-rows.ts";
import type { AttentionStep } from "../../../models/cache/reader.ts";
import { type CachePage, type CacheStorage, Table } from "../../../models/cache/storage/storage.ts";
import { localWindow } from "../../../models/config.ts";
import type { Model } from "../../../models/model.ts";
import { tf } from "../../../runtime/tf.ts";
import type { Turn } from "../../../runtime/turn.ts";
import type { Condensed, FormPolicy, LayerRows } from "../kinds/form.ts";
import type { Chosen } from "../kinds/policy.ts";
import type { Stretch } from "../kinds/reads.ts";
import { queriesOf } from "./selection.ts";
import type { EvictionExtent } from "./tokens/eviction.ts";

/** One sequence whose prompt is held in another form than rows. */
export class Condensation {
  readonly #model: Model;
  readonly #extent: EvictionExtent;
  readonly #scratch: Scratch;
  readonly #condensed: Condensed;
  /** Tokens of the prompt. */
  readonly tokens: number;

  /** Begins to hold the prompt that a row of a cache holds. */
  constructor(
    model: Model,
    { policy, params }: Chosen<FormPolicy>,
    extent: EvictionExtent,
    held: { cache: KvCache; row: number },
  ) {
    const { cache, row } = held;
    this.#model = model;
    this.#extent = extent;
    this.#scratch = new Scratch(cache.storage);
    this.tokens = cache.lengths[row]!;
    const layers = [...cache.windows.keys()].filter((layer) => this.reaches(layer));
    if (layers.length === 0)
      throw new HeadscopeError("usage", `${policy.name} finds no KV head that holds everything`, {
        remedy: "let some heads be full, or leave the policy out",
        field: "policies",
      });
    const read = (layer: number) => {
      const rows = this.#heads(layer).map((head) => cache.read(layer, row, head));
      return { keys: tf.stack(rows.map(({ keys }) => keys)), values: tf.stack(rows.map(({ values }) => values)) };
    };
    const prompt = { model, tokens: this.tokens, steps: extent.steps, layers, read };
    this.#condensed = policy.condense!(prompt, params);
  }

  /** Takes over the rows of the prompt, which are freed, and lets others in between. @throws what `turn` throws: then it is only to be disposed */
  async take({ cache, row }: { cache: KvCache; row: number }, turn: Turn): Promise<void> {
    for (const group of this.#condensed.groups) {
      tf.tidy(() => this.#condensed.take(group));
      for (const layer of group) for (const head of this.#heads(layer)) cache.evict(layer, row, head, []);
      await turn();
    }
  }

  /** Bytes of the form, and of the rows that one layer after the other is restored to. */
  get bytes(): number {
    return this.#condensed.bytes + this.#scratch.bytes;
  }

  /** Bytes that lie outside of the cache; undefined where nothing does. */
  get offloaded(): number | undefined {
    return this.#condensed.offloaded;
  }

  /** True for layers whose prompt is held in the other form. */
  reaches(layer: number): boolean {
    return localWindow(this.#model.config, layer) === undefined && this.#heads(layer).length > 0;
  }

  /** True for KV heads whose prompt is held in the other form. */
  holds(layer: number, head: number): boolean {
    return this.reaches(layer) && this.#heads(layer).includes(head);
  }

  /** Spans that a row's new token reads, by KV head: rows restored, then those of new tokens. */
  choose(step: AttentionStep, row: number): Int32Array[] {
    const { layer, q, tokens, cache } = step;
    const heads = this.#heads(layer);
    const { n_heads, n_key_value_heads } = this.#model.config;
    const queries = queriesOf(
      q,
      { first: row * tokens.tokens, tokens: 1 },
      { heads, group: n_heads / n_key_value_heads },
    );
    const rows = this.#condensed.restore(layer, queries);
    const restored = this.#scratch.fill(rows);
    return cache.windows[layer]!.map((_, head) => {
      const own = step.spansOf(row, head);
      const i = heads.indexOf(head);
      return i < 0 ? own : Int32Array.from([...restored[i]!, ...own]);
    });
  }

  /** Frees the form. */
  dispose(): void {
    this.#condensed.dispose();
    this.#scratch.dispose();
  }

  /** KV heads of a layer that are no streaming heads. */
  #heads(layer: number): number[] {
    const windows = this.#extent.windows?.[layer];
    return [...Array(this.#model.config.n_key_value_heads).keys()].filter((head) => windows?.[head] === undefined);
  }
}

/** Pages that the rows of one layer after the other are written to. */
class Scratch {
  readonly #storage: CacheStorage;
  /** By KV head. */
  readonly #pages: CachePage[][] = [];
  /** Places of so many rows of so many KV heads, by these numbers. */
  readonly #slots = new Map<string, Table>();

  constructor(storage: CacheStorage) {
    this.#storage = storage;
  }

  get bytes(): number {
    return this.#pages.flat().reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** @returns by KV head, spans of the rows [n, 4] */
  fill({ keys, values, positions }: LayerRows): Int32Array[] {
    const [rows, heads] = keys.shape as [number, number, number];
    if (rows > 0) this.#storage.write({ k: keys, v: values, layer: 0 }, this.#slotsOf(rows, heads));
    return positions.map((stretches, i) => spansOf(this.#pages[i] ?? [], stretches));
  }

  dispose(): void {
    for (const page of this.#pages.splice(0).flat()) page.release();
    for (const slots of this.#slots.values()) slots.dispose();
    this.#slots.clear();
  }

  #slotsOf(rows: number, heads: number): Table {
    const known = this.#slots.get(`${rows} ${heads}`);
    if (known) return known;
    const slots = new Int32Array(rows * heads * 2);
    for (let head = 0; head < heads; head++) {
      const pages = this.#pages[head] ?? [];
      this.#pages[head] = pages;
      while (pages.length * PAGE < rows) pages.push(this.#storage.page(PAGE));
      for (let row = 0; row < rows; row++)
        slots.set([pages[Math.floor(row / PAGE)]!.id, row % PAGE], 2 * (row * heads + head));
    }
    const table = new Table(slots, [1, rows, heads, 2]);
    this.#slots.set(`${rows} ${heads}`, table);
    return table;
  }
}

/** Rows one after the other from the first page's first on, as spans. @param stretches their positions */
function spansOf(pages: readonly CachePage[], stretches: readonly Stretch[]): Int32Array {
  const spans: number[] = [];
  let row = 0;
  for (const [first, end] of stretches)
    for (let position = first; position < end; ) {
      const count = Math.min(end - position, PAGE - (row % PAGE));
      spans.push(pages[Math.floor(row / PAGE)]!.id, row % PAGE, position, count);
      row += count;
      position += count;
    }
  return Int32Array.from(spans);
}
