import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../runtime/tf.ts";
import type { KvCache } from "./kv-cache.ts";

/** Queries [rows * tokens, heads, d_head], keys and values [rows * tokens, kv heads, d_head] of new tokens. */
export interface Projections {
  q: Tensor;
  k: Tensor;
  v: Tensor;
}

/** The projections of a chunk, and how many of its tokens are no padding. */
export interface ProjectedChunk extends Projections {
  readonly real: number;
  /** The stream before the block [tokens, d_model]. */
  readonly x: Tensor;
}

/** All new tokens of a forward of one row in one layer, before any of them attends. Tensors are made when first asked for, in a tidy of the caller's. */
export class PromptAttention {
  readonly layer: number;
  /** Tokens before the new ones. */
  readonly start: number;
  /** New tokens. */
  readonly tokens: number;
  readonly #cache: KvCache;
  readonly #chunks: readonly ProjectedChunk[];
  readonly #made = new Map<string, Tensor>();

  /** @param cache of one row, which holds the tokens before */
  constructor(layer: number, cache: KvCache, chunks: readonly ProjectedChunk[]) {
    this.layer = layer;
    this.start = cache.lengths[0]!;
    this.tokens = chunks.reduce((sum, { real }) => sum + real, 0);
    this.#cache = cache;
    this.#chunks = chunks;
  }

  /** After the rotation [heads, tokens, d_head]. */
  get queries(): Tensor {
    return this.#once("queries", () => this.#joined("q"));
  }

  /** Those of the last tokens [heads, count, d_head]. @param count at most all */
  lastQueries(count: number): Tensor {
    return this.#once(`last ${count} queries`, () => this.#joined("q", this.tokens - count));
  }

  /** After the rotation [KV heads, start + tokens, d_head]; zeros at positions that are not held any more, as in the values. */
  get keys(): Tensor {
    return this.#once("keys", () => this.#behindHeld("keys", this.#joined("k")));
  }

  /** [KV heads, start + tokens, d_head] */
  get values(): Tensor {
    return this.#once("values", () => this.#behindHeld("values", this.#joined("v")));
  }

  /** The residual stream before the block [tokens, d_model]. */
  get stream(): Tensor {
    return this.#once("stream", () => this.#real("x"));
  }

  /** @param first token that is wanted */
  #joined(part: keyof Projections, first = 0): Tensor {
    return tf.transpose(this.#real(part, first), [1, 0, 2]);
  }

  #real(part: keyof Projections | "x", first = 0): Tensor {
    let before = 0;
    const wanted = this.#chunks.flatMap(({ real, ...chunk }) => {
      const from = Math.max(0, first - before);
      before += real;
      return from < real ? [tf.slice(chunk[part], from, real - from)] : [];
    });
    return wanted.length === 1 ? wanted[0]! : tf.concat(wanted, 0);
  }

  #behindHeld(part: "keys" | "values", fresh: Tensor): Tensor {
    if (this.start === 0) return fresh;
    const heads = Array.from({ length: fresh.shape[0]! }, (_, head) => {
      const held = this.#cache.read(this.layer, 0, head);
      const places = tf.tensor2d(held.positions, [held.positions.length, 1], "int32");
      return tf.scatterND(places, held[part], [this.start, fresh.shape[2]!]);
    });
    return tf.concat([tf.stack(heads), fresh], 1);
  }

  #once(name: string, make: () => Tensor): Tensor {
    const made = this.#made.get(name) ?? make();
    this.#made.set(name, made);
    return made;
  }
}
