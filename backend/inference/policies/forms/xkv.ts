import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { PAGE } from "../../../models/cache/page-rows.ts";
import { tf } from "../../../runtime/tf.ts";
import { type Condensed, formPolicy, type HeldPrompt, type LayerRows } from "../kinds/form.ts";
import { refuseBoth } from "../kinds/parameters.ts";
import { inUnit } from "../kinds/units.ts";
import { principalDirections, rankOf } from "./low-rank.ts";

/** A group of layers' keys, or values: what each token is in the basis that they share. */
interface Group {
  /** [tokens, rank] */
  readonly basis: Tensor;
  /** By layer, its part of the directions [rank, KV heads * d_head]. */
  readonly parts: ReadonlyMap<number, Tensor>;
}

interface XkvParameters {
  readonly layers: number;
  readonly ratio?: number | undefined;
  readonly rank?: number | undefined;
}

/** Share of a group's keys that goes where nobody says how much: 512 of the paper's 4,096 numbers stay. */
const RATIO = 0.875;
/** Ranks of values by those of keys, as in the paper: values lie less in few directions. */
const VALUES = 1.5;

/** Keys and values of adjacent layers in a basis that they share. */
export const xkv = formPolicy({
  name: "xkv",
  title: "Adjacent layers in a basis that they share",
  description:
    "At the end of the prompt the keys of each group of adjacent layers, side by side, are replaced by a matrix of low rank: numbers for each " +
    "token that the group shares, and a small matrix for each layer; the values alike. Each new token restores a layer's rows to attend to " +
    "them. What is generated is held in rows.",
  source: "Chang et al. 2025, xKV: Cross-Layer SVD for KV-Cache Compression",
  parameters: z.object({
    layers: inUnit("layers", z.int().min(1).default(4).describe("adjacent layers of a group")),
    ratio: z
      .number()
      .min(0)
      .lt(1)
      .optional()
      .describe(`share of a token's numbers in a group's keys that goes, ${RATIO} where no rank is given`),
    rank: inUnit(
      "ranks",
      z
        .int()
        .min(1)
        .optional()
        .describe(
          "numbers that a token's keys of a group become, instead of a ratio; its values become 1.5 times as many",
        ),
    ),
  }),
  // A group holds (1 - ratio) of its keys and 1.5 times as much of its values.
  at: (budget) => (budget < 1 ? { ratio: Math.max(0, 1 - (2 * budget) / (1 + VALUES)) } : undefined),
  check: (params) => refuseBoth("xkv", params, "ratio", "rank"),
  condense: (prompt, params) => new Xkv(prompt, params),
  sizeOf({ tokens, config, rowBytes }, { layers, ratio = RATIO, rank }) {
    const width = config.n_key_value_heads * config.d_head;
    let numbers = 0;
    for (let first = 0; first < config.n_layers; first += layers) {
      const channels = Math.min(layers, config.n_layers - first) * width;
      for (const times of [1, VALUES])
        numbers += rankOf(times * (rank ?? (1 - ratio) * channels), channels) * (tokens + channels);
    }
    // One layer's rows at a time are restored into pages, which are held.
    const restored = config.n_key_value_heads * PAGE * Math.ceil(tokens / PAGE) * rowBytes;
    return { bytes: 4 * numbers + restored, read: 4 * numbers };
  },
});

class Xkv implements Condensed {
  readonly groups: readonly (readonly number[])[];
  readonly #prompt: HeldPrompt;
  readonly #params: XkvParameters;
  readonly #keys: Group[] = [];
  readonly #values: Group[] = [];

  constructor(prompt: HeldPrompt, params: XkvParameters) {
    const { layers } = params;
    this.#prompt = prompt;
    this.#params = params;
    this.groups = Array.from({ length: Math.ceil(prompt.layers.length / layers) }, (_, i) =>
      prompt.layers.slice(i * layers, (i + 1) * layers),
    );
  }

  take(group: readonly number[]): void {
    const { ratio = RATIO, rank } = this.#params;
    const rows = group.map((layer) => this.#prompt.read(layer));
    const of = (part: "keys" | "values", times: number): Group =>
      groupOf(group, rows.map((layer) => layer[part]), (channels) => times * (rank ?? (1 - ratio) * channels)); // biome-ignore format: one call
    this.#keys.push(of("keys", 1));
    this.#values.push(of("values", VALUES));
  }

  get bytes(): number {
    return this.#tensors.reduce((sum, { size }) => sum + 4 * size, 0);
  }

  restore(layer: number): LayerRows {
    const { tokens, model } = this.#prompt;
    const of = (groups: readonly Group[]): Tensor => {
      const { basis, parts } = groups.find(({ parts }) => parts.has(layer))!;
      return tf.reshape(tf.matMul(basis, parts.get(layer)!), [tokens, -1, model.config.d_head]);
    };
    const keys = of(this.#keys);
    const all = [[0, tokens]] as const;
    return { keys, values: of(this.#values), positions: new Array<typeof all>(keys.shape[1]!).fill(all) };
  }

  dispose(): void {
    tf.dispose(this.#tensors);
  }

  get #tensors(): Tensor[] {
    return [...this.#keys, ...this.#values].flatMap(({ basis, parts }) => [basis, ...parts.values()]);
  }
}

/** A group in its basis. @param rows by layer [KV heads, tokens, d_head] @param rank of so many channels, at most all */
function groupOf(layers: readonly number[], rows: readonly Tensor[], rank: (channels: number) => number): Group {
  const flat = rows.map((layer) => tf.reshape(tf.transpose(layer, [1, 0, 2]), [layer.shape[1]!, -1]));
  const all = tf.concat(flat, 1); // [tokens, channels]
  const channels = all.shape[1]!;
  const directions = principalDirections(all, rankOf(rank(channels), channels));
  const parts = tf.split(directions, flat.map((layer) => layer.shape[1]!), 0); // biome-ignore format: one call
  const kept = parts.map((part) => tf.keep(tf.transpose(part)));
  return { basis: tf.keep(tf.matMul(all, directions)), parts: new Map(layers.map((layer, i) => [layer, kept[i]!])) };
}
