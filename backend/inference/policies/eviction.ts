import type { Tensor } from "@tensorflow/tfjs";
import type { KvCache } from "../../models/cache/kv-cache.ts";
import type { ForwardResult } from "../../models/forward/types.ts";
import type { Model } from "../../models/model.ts";
import type { Window } from "../../models/transformer/attention.ts";
import { normaliseHeads } from "../../models/transformer/block.ts";
import { blockHook } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { kept, type LayerView, type QueriesSeen } from "./base.ts";
import type { TokenChoice } from "./choice.ts";

/** The prompt that an eviction is about, and the heads that it leaves alone. */
export interface EvictionExtent {
  /** Of the prompt. */
  readonly tokens: number;
  /** Most new tokens behind it. */
  readonly steps: number;
  /** By layer and KV head, windows of heads that stream, now or once the prompt is read. */
  readonly windows?: readonly (readonly (Window | undefined)[])[] | undefined;
}

/** One layer of a row of a cache. */
interface LayerPlace {
  readonly cache: KvCache;
  readonly row: number;
  readonly layer: number;
}

/** A policy at work on the tokens of one sequence: it sees queries as they go through the model, and frees what is not to stay. */
export class Eviction {
  readonly #model: Model;
  readonly #choice: TokenChoice;
  readonly #extent: EvictionExtent;
  readonly #seen: QueriesSeen | undefined;
  /** Tokens kept by layer. */
  readonly #counts: readonly number[];
  /** The policy's knowledge of each layer. */
  readonly #states: (Tensor | undefined)[] = [];
  #step = 0;

  constructor(model: Model, choice: TokenChoice, extent: EvictionExtent) {
    const { policy, params } = choice;
    const { n_layers } = model.config;
    this.#model = model;
    this.#choice = choice;
    this.#extent = extent;
    this.#seen = policy.queries?.(params);
    const even = kept(params, extent.tokens);
    const own = even < extent.tokens ? policy.counts?.(params, extent.tokens, n_layers) : undefined;
    this.#counts = own ?? new Array<number>(n_layers).fill(even);
  }

  /** True where tokens also go behind the prompt. */
  get decodes(): boolean {
    return this.#choice.params.when === "decode";
  }

  /** True where it looks at the prompt as it is read. */
  get looks(): boolean {
    return this.#seen !== undefined && this.#evicts;
  }

  /** Last tokens of the prompt that are read as a part of their own, since their queries are looked at. */
  get last(): number {
    const { of } = this.#seen ?? { of: 0 };
    return of === "all" || !this.#evicts ? 0 : Math.min(of, this.#extent.tokens);
  }

  /** Hook names of the queries that the policy looks at in a part of the prompt, or in a new token. @param ends the prompt, or is a new token */
  names(ends: boolean): string[] {
    if (!this.#seen || !(this.#seen.of === "all" || ends) || !this.#evicts) return [];
    return Array.from({ length: this.#model.config.n_layers }, (_, layer) => this.#name(layer));
  }

  /** Sees a part of the prompt in a cache of one row; after the last one frees what does not stay. */
  read(result: ForwardResult, cache: KvCache): void {
    const { tokens } = this.#extent;
    const ends = cache.lengths[0] === tokens;
    if (!this.#evicts) return;
    for (let layer = 0; layer < this.#counts.length; layer++) {
      const place = { cache, row: 0, layer };
      if (this.#seen?.of === "all") this.#observe(place, result);
      if (ends) this.#cut(place, result);
    }
    if (ends && !this.decodes) this.dispose();
  }

  /** Sees a new token in a row of a cache, and frees one for it. */
  go(result: ForwardResult, cache: KvCache, row: number): void {
    this.#step++;
    if (!this.decodes || !this.#evicts) return;
    for (let layer = 0; layer < this.#counts.length; layer++) {
      const place = { cache, row, layer };
      if (this.#seen?.of === "all") this.#observe(place, result);
      this.#cut(place, result);
    }
  }

  /** Frees what the policy knows. */
  dispose(): void {
    tf.dispose(this.#states.splice(0).filter((state) => state !== undefined));
  }

  /** True where anything is to go at all. */
  get #evicts(): boolean {
    const { tokens, steps } = this.#extent;
    return this.#counts.some((count) => count < tokens + (this.decodes ? steps : 0));
  }

  #name(layer: number): string {
    const rotated = this.#model.config.positional_embedding_type === "rotary" && !this.#seen?.unrotated;
    return blockHook(layer, rotated ? "attn.hook_rot_q" : "attn.hook_q");
  }

  /** KV heads of a layer that are no streaming heads. */
  #heads(layer: number): number[] {
    const windows = this.#extent.windows?.[layer];
    return [...Array(this.#model.config.n_key_value_heads).keys()].filter((head) => windows?.[head] === undefined);
  }

  #observe(place: LayerPlace, result: ForwardResult): void {
    const { policy, params } = this.#choice;
    const view = this.#view(place, result);
    if (!view) return;
    const before = this.#states[place.layer];
    const state = tf.tidy(() => policy.observe?.(view(), before, params));
    if (state) this.#states[place.layer] = tf.keep(state);
    if (before && before !== state) before.dispose();
  }

  #cut(place: LayerPlace, result: ForwardResult): void {
    const { cache, row, layer } = place;
    const { policy, params } = this.#choice;
    const count = this.#counts[layer]!;
    const heads = this.#heads(layer);
    const view = this.#view(place, result);
    if (!view || cache.positions(layer, row, heads[0]!).length <= count) return;
    const state = this.#states[layer];
    const places = tf.tidy(() => {
      const scores = policy.score(view(), params, state);
      return policy.choose?.(scores, count, params) ?? best(scores, count);
    });
    const own = places.map((list) => [...list].sort((a, b) => a - b));
    heads.forEach((head, i) => {
      const positions = cache.positions(layer, row, head);
      cache.evict(layer, row, head, own[i]!.map((place) => positions[place]!)); // biome-ignore format: one call
    });
    if (state && this.decodes) {
      this.#states[layer] = tf.tidy(() => tf.keep(tf.gather(state, tf.tensor2d(own, undefined, "int32"), 1, 1)));
      state.dispose();
    }
  }

  /** A layer with its queries, in a tidy of the caller's; undefined where all its KV heads stream. */
  #view({ cache, row, layer }: LayerPlace, result: ForwardResult): (() => LayerView) | undefined {
    const heads = this.#heads(layer);
    if (heads.length === 0) return undefined;
    const { config, weights } = this.#model;
    const { n_heads, n_key_value_heads } = config;
    const group = n_heads / n_key_value_heads;
    return () => {
      const read = lazy(() => heads.map((head) => cache.read(layer, row, head)));
      const positions = heads.map((head) => cache.positions(layer, row, head));
      const [keys, values] = (["keys", "values"] as const).map((of) =>
        lazy(() => tf.stack(read().map((head) => head[of]))),
      );
      const queries = lazy(() => {
        const rows = result.activations.get(this.#name(layer))!;
        const all = tf.squeeze(tf.slice(rows, row, 1), [0]); // [tokens, heads, d_head]
        const plain = this.#name(layer).endsWith("hook_q");
        const normed = plain ? normaliseHeads(all, weights.blocks[layer]!.qNorm, config) : all;
        const own = heads.flatMap((head) => Array.from({ length: group }, (_, i) => head * group + i));
        const byHead = tf.transpose(own.length === n_heads ? normed : tf.gather(normed, own, 1), [1, 0, 2]);
        const [count, most] = [byHead.shape[1]!, this.#step > 0 || this.#seen?.of === "all" ? Infinity : this.last];
        return count <= most ? byHead : tf.slice(byHead, [0, count - most, 0], [own.length, most, config.d_head]);
      });
      return {
        ...{ config, layer, length: cache.lengths[row]!, step: this.#step, steps: this.#extent.steps },
        ...{ kvHeads: heads.length, held: positions[0]!.length },
        get keys() {
          return keys!();
        },
        get values() {
          return values!();
        },
        get positions() {
          return tf.tensor2d(positions);
        },
        get queries() {
          return queries();
        },
      };
    };
  }
}

/** The best scores' places by KV head. @param scores [KV heads, held] */
function best(scores: Tensor, count: number): number[][] {
  return tf.topk(scores, count).indices.arraySync() as number[][];
}

function lazy<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
