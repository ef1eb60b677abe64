import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { formatHead, type Head, parseHead } from "../../common/heads/head.ts";
import { headShape, type ModelConfig, outputWidth } from "../../models/config.ts";
import type { Model } from "../../models/model.ts";
import { blockHook } from "../../models/transformer/hook-points.ts";
import { requireAttention } from "../../models/transformer/mixers/index.ts";
import { parameter } from "../../models/weights/parameters.ts";
import { gatherRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import type { Turn } from "../../runtime/turn.ts";

/**
 * The factors of some heads of one layer, of row vectors: OV = W_V W_O and QK = W_Q W_Kᵀ, both [d_model, d_model]. Keys and values
 * are those of the KV head that a query head reads. Rotation, 1 / sqrt(d_head), biases, norms of queries and keys and soft caps
 * are left out: QK is the bilinear form at distance 0, where the rotations of query and key cancel.
 */
export type HeadFactors = {
  /** [heads, d_model, key width], as is k; v and o have the width of values. */
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  /** [heads, d_head, d_model] */
  readonly o: Tensor;
};

/** The factors of some heads of a layer, as new tensors. @param heads query heads, in the order of the factors */
export function headFactors(model: Model, layer: number, heads: readonly number[]): HeadFactors {
  const { queries, keys, values } = headShape(model.config, layer);
  requireAttention(model.config, "a head's circuit", [layer]);
  const shared = (count: number) => heads.map((head) => Math.floor((head * count) / queries));
  const pick = (name: string, index: readonly number[]): Tensor =>
    gatherRows(parameter(model, blockHook(layer, `attn.${name}`)), tf.tensor1d([...index], "int32"));
  return tf.tidy(() => ({
    q: pick("W_Q", heads),
    k: pick("W_K", shared(keys)),
    v: pick("W_V", shared(values)),
    o: pick("W_O", heads),
  }));
}

/** x · y by head, either transposed or not. @param x, y [heads, ...] @returns [heads, ...] */
export function byHead(x: Tensor, y: Tensor, transposeX = false, transposeY = false): Tensor {
  return tf.matMul(x, y, transposeX, transposeY);
}

/** Heads of one layer, ascending. */
export interface LayerHeads {
  readonly layer: number;
  readonly heads: readonly number[];
}

/** Heads by layer, layers and heads ascending, each head once. */
export function byLayer(heads: readonly Head[]): LayerHeads[] {
  const layers = new Map<number, Set<number>>();
  for (const { layer, head } of heads) layers.set(layer, (layers.get(layer) ?? new Set()).add(head));
  return [...layers]
    .sort(([a], [b]) => a - b)
    .map(([layer, own]) => ({ layer, heads: [...own].sort((a, b) => a - b) }));
}

/** Every head of a model, layer after layer. */
export function everyHead({ n_layers, n_heads }: ModelConfig): Head[] {
  return Array.from({ length: n_layers * n_heads }, (_, i) => ({ layer: Math.floor(i / n_heads), head: i % n_heads }));
}

/** @throws HeadscopeError (usage) where no head is named, or one that the model lacks */
export function checkHeads({ config }: Model, heads: readonly Head[]): void {
  if (heads.length === 0)
    throw new HeadscopeError("usage", "no heads are named", { remedy: "name at least one, such as 18.6" });
  for (const head of heads) parseHead(formatHead(head), { layers: config.n_layers, heads: config.n_heads });
}

/** True where a model reads tokens and foretells the same tokens, so that it has W_E and W_U over one vocabulary. */
export function foretellsTokens({ config }: Model): boolean {
  const { d_input, d_vocab, readout_hidden = [], bottleneck } = config;
  return (
    d_input === undefined && bottleneck === undefined && readout_hidden.length === 0 && outputWidth(config) === d_vocab
  );
}

/** Tokens of which an embedding is held in float32 at a time. */
export const TOKENS_AT_A_TIME = 4_096;

/** The way in which work over a vocabulary or many heads is given up and lets others in. */
export interface WeightWork {
  readonly turn: Turn;
  progress?(done: number, total: number, label: string): void;
}

/** Rows of consecutive tokens, in chunks. */
export function tokenChunks(tokens: number, size: number): { first: number; count: number }[] {
  return Array.from({ length: Math.ceil(tokens / size) }, (_, i) => ({
    first: i * size,
    count: Math.min(size, tokens - i * size),
  }));
}

/** Consecutive token ids. @returns int32 [count] */
export function tokenRange({ first, count }: { first: number; count: number }): Tensor {
  return tf.tensor1d(
    Int32Array.from({ length: count }, (_, i) => first + i),
    "int32",
  );
}

/**
 * Sum over the vocabulary of the outer products of two embeddings of each token: W_U W_E or W_Eᵀ W_E [d_model, d_model], which the
 * caller disposes. Embeddings are widened in chunks.
 * @param left whose rows are the first factors: "unembed" gives W_U W_E, "embed" W_Eᵀ W_E
 */
export async function embeddingProduct(model: Model, left: "embed" | "unembed", work: WeightWork): Promise<Tensor> {
  const { d_vocab, d_model } = model.config;
  let total = tf.zeros([d_model, d_model]);
  for (const chunk of tokenChunks(d_vocab, TOKENS_AT_A_TIME)) {
    const before = total;
    total = tf.tidy(() => {
      const index = tokenRange(chunk);
      const rows = model.weights.embed.rows(index); // [tokens, d_model]
      const others = left === "embed" ? rows : model.weights.unembed.rows(index);
      return tf.add(before, tf.matMul(others, rows, true, false));
    });
    before.dispose();
    work.progress?.(chunk.first + chunk.count, d_vocab, "embeddings, tokens");
    await work.turn();
  }
  return total;
}
