import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { HeadscopeError } from "../../../common/errors.ts";
import { counted } from "../../../common/text.ts";
import { RATIO } from "../../../common/words.ts";
import { gatherRows } from "../../../runtime/ops.ts";
import { tf } from "../../../runtime/tf.ts";
import { type Condensed, formPolicy, type HeldPrompt, type LayerRows } from "../kinds/form.ts";
import { kept, refuseBoth } from "../kinds/parameters.ts";
import type { Stretch } from "../kinds/reads.ts";
import { inUnit } from "../kinds/units.ts";
import { grouped, scoresOver } from "../reads/attention-over.ts";
import { placesOf } from "../work/stretches.ts";
import { turnKeys } from "../work/tokens/rerotation.ts";
import { principalDirections, rankOf } from "./low-rank.ts";
import { OFFLOADS, type Offload, OffloadedValues } from "./offloaded-values.ts";

interface ShadowParameters {
  readonly ratio?: number | undefined;
  readonly budget?: number | undefined;
  readonly chunk: number;
  readonly outliers: number;
  readonly rank?: number | undefined;
  readonly offload: Offload;
}

/** Share of the stacked channels of a layer's keys that is their rank: 160 of the 1,024 that the paper's models have. */
const SHARE = 160 / 1024;

/** Keys at low rank, values fetched by landmarks of chunks. */
export const shadowkv = formPolicy({
  name: "shadowkv",
  title: "Keys at low rank, values fetched",
  description:
    "At the end of the prompt each layer's keys before the rotation are replaced by a matrix of low rank, and the values are put outside of " +
    "the cache. A new token looks at the landmarks, which are mean keys of chunks, restores the keys of the chunks that it attends to most " +
    "and fetches their values. Chunks with a key unlike its landmark stay whole, and so does what is generated.",
  source: "Sun et al. 2024, ShadowKV: KV Cache in Shadows for High-Throughput Long-Context LLM Inference",
  parameters: z.object({
    ratio: z
      .number()
      .min(0)
      .lt(1)
      .optional()
      .describe(`share of the prompt's tokens that a new token does not fetch, ${RATIO} where no budget is given`),
    budget: inUnit(
      "tokens",
      z.int().min(1).optional().describe("tokens that a new token fetches in each KV head, instead of a ratio"),
    ),
    chunk: inUnit("tokens", z.int().min(1).default(8).describe("tokens of a chunk")),
    outliers: inUnit("chunks", z.int().min(0).default(4).describe("chunks of each KV head that stay whole")),
    rank: inUnit(
      "ranks",
      z
        .int()
        .min(1)
        .optional()
        .describe("numbers that the keys of a token become in a layer, default 160 of 1,024 of what they are"),
    ),
    offload: z
      .enum(OFFLOADS)
      .default("memory")
      .describe("memory: values lie in plain memory; disk: in a temporary file"),
  }),
  check(params) {
    const { budget, chunk } = params;
    refuseBoth("shadowkv", params, "ratio", "budget");
    if (budget === undefined || budget >= chunk) return;
    throw new HeadscopeError("usage", `a budget of ${counted(budget, "token")} is below a chunk of ${chunk}`, {
      remedy: `give at least ${chunk}, or smaller chunks`,
      field: ["budget", "chunk"],
    });
  },
  condense: (prompt, params) => new Shadow(prompt, params),
});

/** One layer's prompt. */
interface ShadowLayer {
  /** Keys before the rotation: each token's numbers [tokens, rank], and by KV head the directions [KV heads, rank, d_head]. */
  readonly basis: Tensor;
  readonly directions: Tensor;
  /** Of the chunks that compete [KV heads, chunks - outliers, d_head]. */
  readonly landmarks: Tensor;
  /** By KV head, the chunks of these landmarks. */
  readonly chunks: readonly (readonly number[])[];
  /** By KV head, the places of tokens that stay whole, ascending, and their keys and values [tokens, KV heads, d_head]. */
  readonly whole: readonly (readonly Stretch[])[];
  readonly keys: Tensor;
  readonly values: Tensor;
}

class Shadow implements Condensed {
  readonly groups: readonly (readonly number[])[];
  readonly #prompt: HeldPrompt;
  readonly #params: ShadowParameters;
  readonly #layers = new Map<number, ShadowLayer>();
  readonly #offloaded: OffloadedValues;

  constructor(prompt: HeldPrompt, params: ShadowParameters) {
    this.groups = prompt.layers.map((layer) => [layer]);
    this.#prompt = prompt;
    this.#params = params;
    this.#offloaded = new OffloadedValues(params.offload, prompt.model.config.d_head);
  }

  take(group: readonly number[]): void {
    for (const layer of group) {
      const { keys, values } = this.#prompt.read(layer);
      this.#layers.set(layer, this.#shadowOf(keys, values));
      this.#offloaded.put(layer, values);
    }
  }

  get bytes(): number {
    return this.#tensors.reduce((sum, { size }) => sum + 4 * size, 0);
  }

  get offloaded(): number {
    return this.#offloaded.bytes;
  }

  restore(layer: number, queries: Tensor): LayerRows {
    const { model, tokens } = this.#prompt;
    const { chunk } = this.#params;
    const { basis, directions, landmarks, chunks, whole, keys, values } = this.#layers.get(layer)!;
    const take = Math.min(Math.floor(kept(this.#params, tokens) / chunk), landmarks.shape[1]!);
    const fetched = fetchedBy({ config: model.config, kvHeads: chunks.length }, queries, landmarks, take);
    const stretches = fetched.map((list, g) =>
      list.map((i): Stretch => [chunks[g]![i]! * chunk, (chunks[g]![i]! + 1) * chunk]),
    );
    const positions = stretches.map((list, g) => [...list, ...whole[g]!]);
    if (take === 0) return { keys, values, positions };
    const turned = stretches.map((list, g) => {
      const rows = tf.tensor1d(list.flatMap(([first]) => Array.from({ length: chunk }, (_, i) => first + i)), "int32"); // biome-ignore format: one call
      const own = tf.matMul(gatherRows(basis, rows), tf.squeeze(tf.slice(directions, g, 1), [0]));
      return turnKeys(tf.expandDims(own, 1), rows, model, "ahead");
    });
    return {
      keys: tf.concat([tf.concat(turned, 1), keys]),
      values: tf.concat([this.#offloaded.fetch(layer, stretches), values]),
      positions,
    };
  }

  dispose(): void {
    tf.dispose(this.#tensors);
    this.#offloaded.dispose();
  }

  get #tensors(): Tensor[] {
    return [...this.#layers.values()].flatMap(({ basis, directions, landmarks, keys, values }) => [
      ...[basis, directions, landmarks, keys, values],
    ]);
  }

  /** @param keys [KV heads, tokens, d_head], the values alike */
  #shadowOf(keys: Tensor, values: Tensor): ShadowLayer {
    const { model } = this.#prompt;
    const { chunk, outliers, rank } = this.#params;
    const [heads, tokens, width] = keys.shape as [number, number, number];
    const { landmarks, competing, odd } = chunksOf(keys, { chunk, outliers });
    const end = Math.floor(tokens / chunk) * chunk;
    const whole = odd.map((list): Stretch[] => [
      ...list.map((i): Stretch => [i * chunk, (i + 1) * chunk]),
      ...(end < tokens ? [[end, tokens] as const] : []),
    ]);
    const byToken = tf.transpose(keys, [1, 0, 2]);
    const before = turnKeys(byToken, tf.range(0, tokens, 1, "int32"), model, "back");
    const flat = tf.reshape(before, [tokens, heads * width]);
    const channels = heads * width;
    const directions = principalDirections(flat, rankOf(rank ?? SHARE * channels, channels));
    const byHead = tf.transpose(tf.reshape(directions, [heads, width, -1]), [0, 2, 1]);
    return {
      basis: tf.keep(tf.matMul(flat, directions)),
      directions: tf.keep(byHead),
      landmarks: tf.keep(landmarks),
      chunks: competing,
      whole,
      keys: tf.keep(rowsOf(keys, whole)),
      values: tf.keep(rowsOf(values, whole)),
    };
  }
}

/**
 * Chunks of a prompt: those that stay whole because a key lies far from the chunk's mean, by cosine, and the landmarks of the others.
 * @param keys [KV heads, tokens, d_head]; tokens that fill no chunk take no part
 * @returns landmarks [KV heads, those that compete, d_head], by KV head the chunks that compete, and the odd ones, ascending; and
 *   the smallest cosine of each chunk [KV heads, chunks]
 */
export function chunksOf(
  keys: Tensor,
  { chunk, outliers }: Pick<ShadowParameters, "chunk" | "outliers">,
): { landmarks: Tensor; competing: number[][]; odd: number[][]; similar: Tensor } {
  const [heads, tokens, width] = keys.shape as [number, number, number];
  const count = Math.floor(tokens / chunk);
  const chunks = tf.reshape(tf.slice(keys, [0, 0, 0], [heads, count * chunk, width]), [heads, count, chunk, width]);
  const means = tf.mean(chunks, 2, true);
  const lengths = tf.mul(tf.norm(chunks, 2, 3), tf.norm(means, 2, 3)); // [KV heads, chunks, chunk]
  const similar = tf.min(tf.div(tf.sum(tf.mul(chunks, means), 3), tf.maximum(lengths, 1e-12)), 2);
  const odd = placesOf(tf.neg(similar), Math.min(outliers, count));
  const competing = odd.map((list) => Array.from({ length: count }, (_, i) => i).filter((i) => !list.includes(i)));
  const of = (list: readonly number[], g: number): Tensor =>
    gatherRows(tf.reshape(tf.slice(means, g, 1), [count, width]), tf.tensor1d([...list], "int32"));
  return { landmarks: tf.stack(competing.map(of)), competing, odd, similar };
}

/**
 * The landmarks that a KV head's queries attend to most, by the mean over the group of their softmax.
 * @param queries [heads, 1, d_head] @param landmarks [KV heads, landmarks, d_head]
 * @returns by KV head, places among the landmarks, ascending
 */
export function fetchedBy(
  view: Parameters<typeof scoresOver>[0],
  queries: Tensor,
  landmarks: Tensor,
  take: number,
): number[][] {
  const votes = tf.softmax(scoresOver(view, queries, landmarks));
  return placesOf(tf.mean(grouped(votes, view.kvHeads), 1), take);
}

/** Rows of places by KV head [places, KV heads, d_head]. @param rows [KV heads, tokens, d_head] @param places as many in each */
function rowsOf(rows: Tensor, places: readonly (readonly Stretch[])[]): Tensor {
  const [, tokens, width] = rows.shape as [number, number, number];
  const heads = places.map((list, g) => {
    const own = tf.reshape(tf.slice(rows, g, 1), [tokens, width]);
    const parts = list.map(([first, end]) => tf.slice(own, [first, 0], [end - first, width]));
    return parts.length > 0 ? tf.concat(parts) : tf.zeros([0, width]);
  });
  return tf.stack(heads, 1);
}
