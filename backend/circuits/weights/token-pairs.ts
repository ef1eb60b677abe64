import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { formatHead, type Head } from "../../common/heads/head.ts";
import { median } from "../../common/numerics/averages.ts";
import { allFinite } from "../../hooks/finite.ts";
import type { Model } from "../../models/model.ts";
import { gatherRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { topIndices } from "../../runtime/top.ts";
import { checkHeads, foretellsTokens, headFactors, tokenChunks, tokenRange, type WeightWork } from "./factors.ts";

/** A source token and the target whose logit a head raises where it attends to it. */
export interface TokenPairEntry {
  readonly source: number;
  readonly target: number;
  /** Entry of W_E W_V W_O W_U. */
  readonly value: number;
}

/** Ranks of the tokens' own entries in their rows: how many targets stand above the token itself. */
export interface DiagonalRanks {
  /** Share of the vocabulary with rank 0. */
  readonly top1: number;
  /** Share with a rank below 10. */
  readonly top10: number;
  readonly median: number;
  readonly mean: number;
}

/** A head's full OV circuit in a few numbers. */
export interface HeadTokenPairs {
  /** LAYER.HEAD */
  readonly head: string;
  /** The largest entries, largest first. */
  readonly pairs: readonly TokenPairEntry[];
  readonly diagonal: DiagonalRanks;
}

/** Numbers of the vocabulary's square that are held at a time: 16 MB. */
const ENTRIES_AT_A_TIME = 2 ** 22;

/**
 * The largest entries of a head's W_E W_V W_O W_U [source, target], and the ranks of its diagonal. Sources go in chunks: the whole,
 * of the vocabulary's square, is never held.
 * @param count entries to give
 * @throws HeadscopeError for a head that the model lacks, one that does not foretell the tokens that it reads, entries that are no numbers
 */
export async function largestTokenPairs(
  model: Model,
  head: Head,
  count: number,
  work: WeightWork,
): Promise<HeadTokenPairs> {
  checkHeads(model, [head]);
  if (!foretellsTokens(model))
    throw new HeadscopeError("unsupported", `${model.ref} does not foretell the tokens that it reads: it has no token pairs`, {
      remedy: "choose a language model",
    }); // biome-ignore format: one line
  const { d_vocab } = model.config;
  const [reading, writing] = tf.tidy(() => {
    const { v, o } = headFactors(model, head.layer, [head.head]);
    return [tf.squeeze(v, [0]), writingOf(model, tf.squeeze(o, [0]))];
  }) as [Tensor, Tensor];
  const ranks = new Int32Array(d_vocab);
  let best: TokenPairEntry[] = [];
  try {
    const size = Math.max(1, Math.min(d_vocab, Math.floor(ENTRIES_AT_A_TIME / d_vocab)));
    for (const chunk of tokenChunks(d_vocab, size)) {
      const entries = tf.tidy(() =>
        tf.matMul(tf.matMul(model.weights.embed.rows(tokenRange(chunk)), reading), writing),
      );
      ranks.set(diagonalRanks(entries, chunk.first), chunk.first);
      best = merged(best, largest(entries, chunk.first, count, best[count - 1]?.value), count);
      entries.dispose();
      work.progress?.(chunk.first + chunk.count, d_vocab, `token pairs of ${formatHead(head)}, sources`);
      await work.turn();
    }
  } finally {
    tf.dispose([reading, writing]);
  }
  return { head: formatHead(head), pairs: best, diagonal: summaryOf(ranks) };
}

/** W_O W_U [d_head, d_vocab], in chunks of the vocabulary. @param o [d_head, d_model] */
function writingOf(model: Model, o: Tensor): Tensor {
  const parts = tokenChunks(model.config.d_vocab, 4_096).map((chunk) =>
    tf.tidy(() => tf.matMul(o, model.weights.unembed.rows(tokenRange(chunk)), false, true)),
  );
  return tf.concat(parts, 1);
}

/** By source of a chunk, how many targets have a larger entry than the source itself. @param entries [sources, d_vocab] */
function diagonalRanks(entries: Tensor, first: number): Int32Array {
  const [sources, d_vocab] = entries.shape as [number, number];
  const above = tf.tidy(() => {
    const index = Int32Array.from({ length: sources }, (_, i) => i * d_vocab + first + i);
    const own = gatherRows(tf.reshape(entries, [-1, 1]), tf.tensor1d(index, "int32")); // [sources, 1]
    return tf.sum(tf.cast(tf.greater(entries, own), "int32"), 1);
  });
  const counts = Int32Array.from(above.dataSync());
  above.dispose();
  return counts;
}

/**
 * The largest entries of a chunk: they lie in the rows with the largest maxima, so that few rows are read.
 * @param least entries at or below it are of no interest
 */
function largest(entries: Tensor, first: number, count: number, least = Number.NEGATIVE_INFINITY): TokenPairEntry[] {
  const maxima = tf.tidy(() => tf.max(entries, 1)).dataSync();
  if (!allFinite(maxima))
    throw new HeadscopeError("input", "the entries of W_E W_V W_O W_U are no numbers", {
      remedy: "look at the weights: the model is damaged, or its training diverged",
    });
  const rows = topIndices(maxima, count).filter((row) => maxima[row]! > least);
  return rows.flatMap((row) => {
    const values = tf.tidy(() => tf.reshape(tf.slice(entries, [row, 0], [1, -1]), [-1])).dataSync();
    return topIndices(values, count).map((target) => ({ source: first + row, target, value: values[target]! }));
  });
}

function merged(best: TokenPairEntry[], next: TokenPairEntry[], count: number): TokenPairEntry[] {
  return [...best, ...next].sort((a, b) => b.value - a.value).slice(0, count);
}

function summaryOf(ranks: Int32Array): DiagonalRanks {
  const share = (below: number): number => ranks.filter((rank) => rank < below).length / ranks.length;
  return {
    top1: share(1),
    top10: share(10),
    median: median(ranks),
    mean: ranks.reduce((sum, rank) => sum + rank, 0) / ranks.length,
  };
}
