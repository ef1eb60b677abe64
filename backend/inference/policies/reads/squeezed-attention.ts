import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { RATIO, readParameters } from "../kinds/parameters.ts";
import { type ReadView, readPolicy, type Stretch } from "../kinds/reads.ts";
import { stretchesOf } from "../work/stretches.ts";
import { scoresOver } from "./attention-over.ts";
import { type Clusters, cluster } from "./clusters.ts";

/** The last queries of the prompt until a new token comes, then the clusters of the keys that were held. */
interface Squeezed {
  readonly [name: string]: unknown;
  /** [heads, queries, d_head] */
  readonly queries: Tensor | undefined;
  readonly clusters: Clusters | undefined;
  /** Mean keys [KV heads, clusters, d_head]. */
  readonly centroids: Tensor | undefined;
  /** By KV head, the least score of a cluster that is read. */
  readonly thresholds: readonly number[];
}

/** Clusters of keys that a query's centroids promise attention. */
export const squeezedAttention = readPolicy({
  name: "squeezed-attention",
  title: "Clusters of keys near the query",
  description:
    "Before the first new token the keys of each KV head are gathered into clusters by cosine. A new token reads the clusters whose centroid " +
    "scores above a threshold, by the largest softmax of the KV head's group, and all that has come since. The threshold is the one that reads " +
    "the wanted share for the last queries of the prompt.",
  source: "Hooper et al. 2024, Squeezed Attention: Accelerating Long Context Length LLM Inference",
  parameters: z.object({
    ...readParameters,
    clusters: z.number().gt(0).max(1).default(0.05).describe("clusters of each KV head as a share of its keys"),
    window: z.int().min(1).default(32).describe("last queries by which the threshold is set"),
    iterations: z.int().min(1).default(10).describe("most rounds in which keys change their cluster"),
  }),
  inPrompt: "learns",
  learn(
    view: ReadView,
    before: Squeezed | undefined,
    { clusters: share, window, iterations, ratio, budget },
  ): Squeezed {
    const { held, tokens, kvHeads, step } = view;
    if (before?.clusters) return before;
    const queries = lastOf(before?.queries ? tf.concat([before.queries, view.queries], 1) : view.queries, window);
    if (step === 0) return { queries, clusters: undefined, centroids: undefined, thresholds: [] };
    const fixed = held - tokens;
    const found = cluster(view.keysOf(0, fixed), Math.max(1, Math.round(share * fixed)), iterations);
    const { centroids, ...clusters } = found;
    // The new token's own query counts where the prompt's are not known: behind a prefix.
    const seen = before?.queries ? lastOf(before.queries, window) : queries;
    const sparsity = budget === undefined ? (ratio ?? RATIO) : Math.max(0, 1 - budget / fixed);
    const scores = clusterScores(view, seen, clusters, centroids);
    const thresholds = calibrated(scores, clusters.sizes, (1 - sparsity) * fixed);
    return { queries: undefined, clusters, centroids, thresholds: thresholds.slice(0, kvHeads) };
  },
  choose(view, { clusters, centroids, thresholds }: Squeezed) {
    const scores = clusterScores(view, view.queries, clusters!, centroids!);
    const own = scores.map(([heads]) => heads!);
    return own.map((row, g) => membersOf(clusters!.assign[g]!, (i) => row[i]! >= thresholds[g]!, view.held));
  },
});

/** The last queries. @param queries [heads, queries, d_head] */
function lastOf(queries: Tensor, count: number): Tensor {
  const [heads, all, width] = queries.shape as [number, number, number];
  return all <= count ? queries : tf.slice(queries, [0, all - count, 0], [heads, count, width]);
}

/**
 * Estimates S_i = exp(q · c_i) / Σ_j N_j exp(q · c_j), the largest of a KV head's group.
 * @param queries [heads, queries, d_head] @param centroids [KV heads, clusters, d_head]
 * @returns [KV head][query][cluster]
 */
export function clusterScores(
  view: Pick<ReadView, "config" | "kvHeads">,
  queries: Tensor,
  { sizes }: Pick<Clusters, "sizes">,
  centroids: Tensor,
): number[][][] {
  const { kvHeads } = view;
  const [heads, count, width] = queries.shape as [number, number, number];
  const clusters = centroids.shape[1]!;
  // A query of each head at a time, as if there were so many heads.
  const spread = tf.reshape(queries, [heads * count, 1, width]);
  const scores = tf.reshape(scoresOver(view, spread, centroids), [kvHeads, (heads / kvHeads) * count, clusters]);
  const members = tf.expandDims(tf.tensor2d(sizes as number[][]), 1); // [KV heads, 1, clusters]
  // Of the softmax with each cluster counted as often as it has members, the share of one of them.
  const weights = tf.exp(tf.sub(scores, tf.max(scores, 2, true)));
  const shares = tf.div(weights, tf.sum(tf.mul(weights, members), 2, true));
  return tf.max(tf.reshape(shares, [kvHeads, heads / kvHeads, count, clusters]), 1).arraySync() as number[][][];
}

/**
 * The threshold of each KV head with which its queries read a number of keys.
 * @param scores [KV head][query][cluster] @param sizes [KV head][cluster] @param keys of a query
 */
export function calibrated(
  scores: readonly (readonly (readonly number[])[])[],
  sizes: readonly (readonly number[])[],
  keys: number,
): number[] {
  return scores.map((queries, g) => {
    const pairs = queries.flatMap((row) => row.map((score, i) => [score, sizes[g]![i]!] as const));
    pairs.sort(([a], [b]) => b - a);
    let running = 0;
    for (const [score, size] of pairs) {
      running += size;
      if (running >= keys * queries.length) return score;
    }
    return 0;
  });
}

/** The keys of clusters that are read, and all behind the clustered ones. @param assign cluster of each key */
function membersOf(assign: Int32Array, reads: (cluster: number) => boolean, held: number): Stretch[] {
  const stretches: Stretch[] = [];
  for (let place = 0; place < assign.length; place++) if (reads(assign[place]!)) stretches.push([place, place + 1]);
  return stretchesOf([...stretches, [assign.length, held]]);
}
