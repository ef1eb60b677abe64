import type { Tensor } from "@tensorflow/tfjs";
import { keyRotation, turnBack } from "../../../../models/cache/forms/rotation.ts";
import type { KvCache } from "../../../../models/cache/kv-cache.ts";
import type { ModelConfig } from "../../../../models/config.ts";
import type { Model } from "../../../../models/model.ts";
import { normaliseHeads } from "../../../../models/transformer/block.ts";
import { blockHook } from "../../../../models/transformer/hook-points.ts";
import { tf } from "../../../../runtime/tf.ts";
import type { LayerView } from "../../kinds/tokens.ts";

/** One layer of a row of a cache, and the KV heads that are looked at. */
export interface LayerPlace {
  readonly cache: KvCache;
  readonly row: number;
  readonly layer: number;
  readonly heads: readonly number[];
}

/** Queries of a layer as the forward gave them, or the stream before it, and the last of them that count. */
export interface LayerQueries {
  /** [rows, tokens, heads, d_head], of the stream [rows, tokens, d_model]; undefined where nobody looks. */
  readonly activation: Tensor | undefined;
  /** True before the rotation, and before the norm of queries where the model has one. */
  readonly plain: boolean;
  readonly last: number;
  /** Attention of a new token [rows, heads, 1, positions], in the place of its query. */
  readonly pattern?: Tensor | undefined;
}

/** A layer of a cache as a policy sees it; tensors are made when first asked for, all of them in one tidy. */
export class CacheView implements LayerView {
  readonly layer: number;
  readonly prompt: number;
  readonly length: number;
  readonly step: number;
  readonly steps: number;
  readonly prepared: unknown;
  /** Positions by KV head, ascending. */
  readonly places: readonly (readonly number[])[];
  readonly #model: Model;
  readonly #place: LayerPlace;
  readonly #queries: LayerQueries;
  readonly #made = new Map<string, Tensor>();

  constructor(
    model: Model,
    place: LayerPlace,
    queries: LayerQueries,
    progress: Pick<LayerView, "prompt" | "step" | "steps" | "prepared">,
  ) {
    const { cache, row, layer, heads } = place;
    this.#model = model;
    this.#place = place;
    this.#queries = queries;
    this.layer = layer;
    this.length = cache.lengths[row]!;
    this.prompt = progress.prompt;
    this.step = progress.step;
    this.steps = progress.steps;
    this.prepared = progress.prepared;
    this.places = heads.map((head) => cache.positions(layer, row, head));
  }

  get config() {
    return this.#model.config;
  }

  get kvHeads(): number {
    return this.places.length;
  }

  get held(): number {
    return this.places[0]!.length;
  }

  get keys(): Tensor {
    return this.#held("keys");
  }

  get plainKeys(): Tensor {
    return this.#once("plain keys", () => plainKeysOf(this, this.places));
  }

  get values(): Tensor {
    return this.#held("values");
  }

  get positions(): Tensor {
    return this.#once("positions", () => tf.tensor2d(Float32Array.from(this.places.flat()), [this.kvHeads, this.held]));
  }

  get attention(): Tensor | undefined {
    const { pattern } = this.#queries;
    return pattern && this.#once("attention", () => this.#heldPart(pattern, 1));
  }

  get received(): Tensor | undefined {
    const { pattern } = this.#queries;
    const group = this.config.n_heads / this.config.n_key_value_heads;
    return pattern && this.#once("received", () => tf.squeeze(this.#heldPart(pattern, group), [1]));
  }

  /** Keys from the n-th on that each KV head holds [KV heads, held - n, d_head]. */
  keysFrom(first: number): Tensor {
    if (first === 0) return this.keys;
    const { cache, row, layer, heads } = this.#place;
    return cache.readTogether({ layer, row, heads }, first).keys;
  }

  get stream(): Tensor {
    const { activation } = this.#queries; // [rows, tokens, d_model]
    return this.#once("stream", () => tf.squeeze(tf.slice(activation!, this.#place.row, 1), [0]));
  }

  get queries(): Tensor {
    return this.#once("queries", () => this.#readQueries());
  }

  #held(part: "keys" | "values"): Tensor {
    const { cache, row, layer, heads } = this.#place;
    if (!this.#made.has(part)) {
      const { keys, values } = cache.readTogether({ layer, row, heads });
      this.#made.set("keys", keys);
      this.#made.set("values", values);
    }
    return this.#made.get(part)!;
  }

  /** The part of a pattern that the keys in view have, mean over so many query heads at a time [heads / together, 1, held]. */
  #heldPart(pattern: Tensor, together: number): Tensor {
    const [, heads, , columns] = pattern.shape as [number, number, number, number];
    const { row, heads: own } = this.#place;
    const group = heads / this.config.n_key_value_heads;
    const numbers = pattern.dataSync() as Float32Array;
    const rows = (own.length * group) / together;
    const part = new Float32Array(rows * this.held);
    const share = 1 / together;
    own.forEach((head, i) => {
      const places = this.places[i]!;
      for (let h = 0; h < group; h++) {
        const first = (row * heads + head * group + h) * columns;
        const to = Math.floor((i * group + h) / together) * this.held;
        for (let place = 0; place < places.length; place++)
          part[to + place]! += share * numbers[first + places[place]!]!;
      }
    });
    return tf.tensor3d(part, [rows, 1, this.held]);
  }

  #readQueries(): Tensor {
    const { activation, plain, last } = this.#queries;
    const { n_heads, n_key_value_heads, d_head } = this.config;
    const { row, layer, heads } = this.#place;
    const all = tf.squeeze(tf.slice(activation!, row, 1), [0]); // [tokens, heads, d_head]
    const normed = plain ? normaliseHeads(all, this.#model.weights.blocks[layer]!.qNorm, this.config) : all;
    const group = n_heads / n_key_value_heads;
    const own = heads.flatMap((head) => Array.from({ length: group }, (_, i) => head * group + i));
    const byHead = tf.transpose(own.length === n_heads ? normed : tf.gather(normed, own, 1), [1, 0, 2]);
    const count = byHead.shape[1]!;
    return count <= last ? byHead : tf.slice(byHead, [0, count - last, 0], [own.length, last, d_head]);
  }

  #once(name: string, make: () => Tensor): Tensor {
    const made = this.#made.get(name) ?? make();
    this.#made.set(name, made);
    return made;
  }
}

/** Hook name of a layer's queries as they attend: after the rotation, where the model has one. */
export function queryHook({ positional_embedding_type }: ModelConfig, layer: number): string {
  return blockHook(layer, positional_embedding_type === "rotary" ? "attn.hook_rot_q" : "attn.hook_q");
}

/** A layer's keys as they were before the rotation [KV heads, held, d_head]. @param places by KV head, their positions */
export function plainKeysOf(
  { config, layer, keys }: Pick<LayerView, "config" | "layer" | "keys">,
  places: readonly (readonly number[])[],
): Tensor {
  const rotation = keyRotation(config, layer);
  if (!rotation) return tf.clone(keys);
  const plain = (keys.dataSync() as Float32Array).slice();
  turnBack(plain, places.flat(), rotation.turns);
  return tf.tensor(plain, keys.shape);
}
