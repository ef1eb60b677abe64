import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { formatHead, type Head } from "../../common/heads/head.ts";
import { localWindow } from "../../models/config.ts";
import type { Model } from "../../models/model.ts";
import { rotaryFrequencies } from "../../models/transformer/rope.ts";
import { tf } from "../../runtime/tf.ts";
import {
  byLayer,
  checkHeads,
  embeddingProduct,
  foretellsTokens,
  headFactors,
  TOKENS_AT_A_TIME,
  tokenChunks,
  tokenRange,
  type WeightWork,
} from "./factors.ts";

/** A head's scores by distance, from its weights alone. */
export interface PositionKernel {
  /** LAYER.HEAD */
  readonly head: string;
  /** Source of positions: rotated queries and keys, or learned positions. */
  readonly positions: "rotary" | "standard";
  /**
   * Score of a query at each distance from 0 on, before 1 / sqrt(d_head), caps and norms. Rotary: the mean over all pairs of tokens'
   * embeddings. Learned: the mean over positions of what their embeddings alone give.
   */
  readonly mean: readonly number[];
  /** Rotary: the mean over tokens of a token's score for itself at each distance. */
  readonly same?: readonly number[];
}

/**
 * Kernels of position: how a head's scores depend on how far back a key stands.
 * @param distances numbers of tokens from 0 on
 * @throws HeadscopeError for heads that the model lacks, a model without positions or tokens, distances beyond its context
 */
export async function positionKernels(
  model: Model,
  heads: readonly Head[],
  distances: number,
  work: WeightWork,
): Promise<PositionKernel[]> {
  checkHeads(model, heads);
  const { positional_embedding_type: kind, n_ctx } = model.config;
  if (kind === "none" || !foretellsTokens(model))
    throw new HeadscopeError("unsupported", `${model.ref} has no ${kind === "none" ? "positions" : "embedding of tokens"}`, {
      remedy: "leave the kernel of positions out",
    }); // biome-ignore format: one line
  if (distances > n_ctx)
    throw new HeadscopeError("usage", `${distances} distances exceed the context of ${n_ctx}`, {
      remedy: `give at most ${n_ctx}`,
    });
  return kind === "standard" ? learned(model, heads, distances) : rotated(model, heads, distances, work);
}

function learned(model: Model, heads: readonly Head[], distances: number): PositionKernel[] {
  const { n_ctx } = model.config;
  return byLayer(heads).flatMap(({ layer, heads: own }) => {
    const scores = tf.tidy(() => {
      const { q, k } = headFactors(model, layer, own);
      const positions = tf.tile(tf.expandDims(model.weights.posEmbed!.widen(), 0), [own.length, 1, 1]);
      return tf.matMul(tf.matMul(positions, q), tf.matMul(positions, k), false, true).arraySync() as number[][][];
    });
    return own.map((head, h) => ({
      head: formatHead({ layer, head }),
      positions: "standard" as const,
      mean: Array.from({ length: distances }, (_, back) => {
        let sum = 0;
        for (let query = back; query < n_ctx; query++) sum += scores[h]![query]![query - back]!;
        return sum / (n_ctx - back);
      }),
    }));
  });
}

async function rotated(
  model: Model,
  heads: readonly Head[],
  distances: number,
  work: WeightWork,
): Promise<PositionKernel[]> {
  const square = await embeddingProduct(model, "embed", work); // [d_model, d_model]
  const sum = await embeddingSum(model, work); // [1, d_model]
  const { d_vocab } = model.config;
  try {
    return byLayer(heads).flatMap(({ layer, heads: own }) =>
      own.map((head) => {
        const { q, k } = tf.tidy(() => headFactors(model, layer, [head]));
        const outer = (left: Tensor, scale: number): number[][] =>
          tf.tidy(() => tf.mul(tf.matMul(tf.matMul(tf.squeeze(q, [0]), left, true), tf.squeeze(k, [0])), scale).arraySync() as number[][]); // biome-ignore format: one line
        const middle = tf.matMul(sum, sum, true);
        const kernel = (products: number[][]): number[] => byDistance(model, layer, products, distances);
        const found = {
          head: formatHead({ layer, head }),
          positions: "rotary" as const,
          mean: kernel(outer(middle, 1 / d_vocab ** 2)),
          same: kernel(outer(square, 1 / d_vocab)),
        };
        tf.dispose([q, k, middle]);
        return found;
      }),
    );
  } finally {
    tf.dispose([square, sum]);
  }
}

/** Sum of the embeddings of all tokens [1, d_model], which the caller disposes. */
async function embeddingSum(model: Model, { turn }: WeightWork): Promise<Tensor> {
  const { d_vocab, d_model } = model.config;
  let total = tf.zeros([1, d_model]);
  for (const chunk of tokenChunks(d_vocab, TOKENS_AT_A_TIME)) {
    const before = total;
    total = tf.tidy(() => tf.add(before, tf.sum(model.weights.embed.rows(tokenRange(chunk)), 0, true)));
    before.dispose();
    await turn();
  }
  return total;
}

/**
 * The score at each distance from products of unrotated queries and keys: the rotation turns pair i by distance times its frequency.
 * @param products mean of query i times key j [d_head][d_head]
 */
function byDistance({ config }: Model, layer: number, products: number[][], distances: number): number[] {
  const { rotary_dim, rotary_base, rotary_scaling, rotary_local } = config;
  const own = localWindow(config, layer) === undefined ? undefined : rotary_local;
  const { inverse, factor } = rotaryFrequencies(
    rotary_dim,
    own?.base ?? rotary_base,
    own ? own.scaling : rotary_scaling,
  );
  const half = rotary_dim / 2;
  const still = products.slice(rotary_dim).reduce((sum, row, i) => sum + row[rotary_dim + i]!, 0);
  return Array.from({ length: distances }, (_, distance) =>
    inverse.reduce((sum, wave, i) => {
      const j = i + half;
      const along = products[i]![i]! + products[j]![j]!;
      const across = products[i]![j]! - products[j]![i]!;
      return sum + factor ** 2 * (Math.cos(distance * wave) * along + Math.sin(distance * wave) * across);
    }, still),
  );
}
