import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { RATIO } from "../../../common/words.ts";
import { tf } from "../../../runtime/tf.ts";
import { UNSEEN } from "../attention.ts";
import { readParameters } from "../kinds/parameters.ts";
import { type ReadView, readPolicy, type Stretch } from "../kinds/reads.ts";
import { inUnit } from "../kinds/units.ts";
import { stretchesOf } from "../work/stretches.ts";
import { scoresOver } from "./attention-over.ts";
import { type Clusters, cluster, type Rounds } from "./clusters.ts";

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
  /** Clusters of these clusters, where there are two levels; by KV head, the least score of one that is looked into. */
  readonly coarse: (Clusters & { readonly thresholds: readonly number[] }) | undefined;
  /** Mean keys [KV heads, coarse clusters, d_head]. */
  readonly coarseCentroids: Tensor | undefined;
}

/** Knowledge of a layer before its keys are in clusters. */
const UNCLUSTERED = { clusters: undefined, centroids: undefined, thresholds: [], coarse: undefined, coarseCentroids: undefined }; // biome-ignore format: one line

/** Clusters of keys that a query's centroids promise attention. */
export const squeezedAttention = readPolicy({
  name: "squeezed-attention",
  title: "Clusters of keys near the query",
  description:
    "Before the first new token the keys of each KV head are gathered into clusters by cosine. A new token reads the clusters whose centroid " +
    "scores above a threshold, by the largest softmax of the KV head's group, and all that has come since. The threshold is the one that reads " +
    "the wanted share for the last queries of the prompt. With `levels=2` clusters of the clusters are looked at first, and those that score " +
    "low are left out. Its paper makes the clusters ahead, of a part of the prompt that many questions share.",
  source: "Hooper et al. 2024, Squeezed Attention: Accelerating Long Context Length LLM Inference",
  parameters: z.object({
    ...readParameters,
    clusters: z.number().gt(0).max(1).default(0.05).describe("clusters of each KV head as a share of its keys"),
    window: inUnit("tokens", z.int().min(1).default(32).describe("last queries by which the threshold is set")),
    iterations: z.int().min(1).default(10).describe("most rounds in which keys change their cluster"),
    levels: z
      .literal([1, 2])
      .default(1)
      .describe("2: clusters of the clusters choose first which of these are looked at"),
    coarse: z
      .number()
      .gt(0)
      .max(1)
      .default(0.01)
      .describe("clusters of the first of two levels as a share of the keys"),
    ruledOut: z
      .number()
      .min(0)
      .lt(1)
      .default(0.5)
      .describe("share of the keys that the first of two levels rules out, at most the share that is not to be read"),
  }),
  inPrompt: "learns",
  learn(view: ReadView, before: Squeezed | undefined, params): Squeezed {
    const { held, tokens, step } = view;
    if (before?.clusters) return before;
    const { window, ratio, budget } = params;
    const queries = lastOf(before?.queries ? tf.concat([before.queries, view.queries], 1) : view.queries, window);
    if (step === 0) return { queries, ...UNCLUSTERED };
    const fixed = held - tokens;
    // The new token's own query counts where the prompt's are not known: behind a prefix.
    const seen = before?.queries ? lastOf(before.queries, window) : queries;
    const left = budget === undefined ? (ratio ?? RATIO) : Math.max(0, 1 - budget / fixed);
    const keys = view.keysOf(0, fixed);
    const { centroids, ...clusters } = cluster(keys, roundsOf(params.clusters, fixed, params));
    const known = { ...UNCLUSTERED, queries: undefined, clusters, centroids };
    const coarse = params.levels === 2 ? coarseOf(view, seen, known, { ...params, fixed, left }) : {};
    const scores = scoresOfLevels(view, seen, { ...known, ...coarse });
    return { ...known, ...coarse, thresholds: calibrated(scores, clusters.sizes, (1 - left) * fixed) };
  },
  choose(view, known: Squeezed) {
    const { clusters, thresholds } = known;
    const own = scoresOfLevels(view, view.queries, known).map(([heads]) => heads!);
    return own.map((row, g) => membersOf(clusters!.assign[g]!, (i) => row[i]! >= thresholds[g]!, view.held));
  },
});

function roundsOf(share: number, keys: number, { iterations }: { iterations: number }): Rounds {
  return { count: Math.max(1, Math.round(share * keys)), iterations };
}

/** The first of two levels: clusters of the clusters, and the threshold that rules out a share of the keys for some queries. */
function coarseOf(
  view: ReadView,
  queries: Tensor,
  { clusters, centroids }: Squeezed,
  params: { coarse: number; iterations: number; ruledOut: number; fixed: number; left: number },
): Pick<Squeezed, "coarse" | "coarseCentroids"> {
  const { fixed, ruledOut, left } = params;
  const found = cluster(centroids!, roundsOf(params.coarse, fixed, params), clusters!.sizes);
  const { centroids: coarseCentroids, ...coarse } = found;
  const thresholds = calibrated(
    clusterScores(view, queries, found),
    coarse.sizes,
    (1 - Math.min(ruledOut, left)) * fixed,
  );
  return { coarse: { ...coarse, thresholds }, coarseCentroids };
}

/** Scores of the clusters, below 0 those that the first of two levels rules out [KV head][query][cluster]. */
function scoresOfLevels(view: ReadView, queries: Tensor, known: Squeezed): number[][][] {
  const { clusters, centroids, coarse, coarseCentroids } = known;
  const level = { sizes: clusters!.sizes, centroids: centroids! };
  if (!coarse) return clusterScores(view, queries, level);
  const above = clusterScores(view, queries, { sizes: coarse.sizes, centroids: coarseCentroids! });
  const looked = above.map((rows, g) =>
    rows.map((row) => Array.from(coarse.assign[g]!, (own) => row[own]! >= coarse.thresholds[g]!)),
  );
  return clusterScores(view, queries, { ...level, looked });
}

/** The last queries. @param queries [heads, queries, d_head] */
function lastOf(queries: Tensor, count: number): Tensor {
  const [heads, all, width] = queries.shape as [number, number, number];
  return all <= count ? queries : tf.slice(queries, [0, all - count, 0], [heads, count, width]);
}

/** Clusters that queries are compared with. */
interface Level {
  /** By KV head, keys of each cluster. */
  readonly sizes: readonly (readonly number[])[];
  /** [KV heads, clusters, d_head] */
  readonly centroids: Tensor;
  /** Those that are compared at all, by KV head and query; default all. */
  readonly looked?: readonly (readonly (readonly boolean[])[])[];
}

/** Score of a cluster that is not looked at. */
const RULED_OUT = -1;

/**
 * Estimates S_i = exp(q · c_i) / Σ_j N_j exp(q · c_j) over the clusters that are looked at, the largest of a KV head's group.
 * @param queries [heads, queries, d_head]
 * @returns [KV head][query][cluster], -1 of those that are not looked at
 */
export function clusterScores(
  view: Pick<ReadView, "config" | "kvHeads">,
  queries: Tensor,
  { sizes, centroids, looked }: Level,
): number[][][] {
  const { kvHeads } = view;
  const [heads, count, width] = queries.shape as [number, number, number];
  const clusters = centroids.shape[1]!;
  // A query of each head at a time, as if there were so many heads.
  const spread = tf.reshape(queries, [heads * count, 1, width]);
  const shape: [number, number, number, number] = [kvHeads, heads / kvHeads, count, clusters];
  const all = tf.reshape(scoresOver(view, spread, centroids), shape);
  const mask =
    looked && tf.broadcastTo(tf.expandDims(tf.tensor3d(looked as boolean[][][], undefined, "bool"), 1), shape);
  const scores = mask ? tf.where(mask, all, tf.fill(shape, UNSEEN)) : all;
  const members = tf.reshape(tf.tensor2d(sizes as number[][]), [kvHeads, 1, 1, clusters]);
  // Of the softmax with each cluster counted as often as it has members, the share of one of them.
  const weights = tf.exp(tf.sub(scores, tf.max(scores, 3, true)));
  const shares = tf.div(weights, tf.sum(tf.mul(weights, members), 3, true));
  return tf.max(mask ? tf.where(mask, shares, tf.fill(shape, RULED_OUT)) : shares, 1).arraySync() as number[][][];
}

/**
 * The threshold of each KV head with which its queries read a number of keys.
 * @param scores [KV head][query][cluster], below 0 those that are not looked at @param sizes [KV head][cluster] @param keys of a query
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
      if (score < 0) break;
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
