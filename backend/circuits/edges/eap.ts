import type { Tensor } from "@tensorflow/tfjs";
import type { MetricName } from "../../common/metrics.ts";
import { notFinite } from "../../hooks/finite.ts";
import { backward } from "../../models/backward/backward.ts";
import type { BackwardStep } from "../../models/backward/step.ts";
import { storeRun } from "../../models/backward/stored-run.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Model } from "../../models/model.ts";
import { blockHook } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { evenBatches, type Interrupts } from "../batches.ts";
import { metricGradient, metricValues, pairMetric } from "../metrics/measure.ts";
import type { TokenPair } from "../pairs.ts";
import type { EdgeGraph } from "./graph.ts";
import { behindNorm } from "./split-block.ts";

/** Pairs of one length, whose runs are rows of a batch. */
export interface PairBatch {
  readonly model: Model;
  readonly graph: EdgeGraph;
  readonly pairs: readonly TokenPair[];
  readonly metric: MetricName;
}

/** Runs whose mean gradient an estimate takes. */
export interface GradientRuns extends Interrupts {
  /** Shares of the way from the corrupt prompt's embedding to the clean one's: a run each; 1 is the clean run. */
  readonly shares: readonly number[];
  /** Called with the share of the work that is done, 0 to 1. */
  onShare(share: number): void;
}

/** Scores of edges on one pair, and figures of its whole runs. */
export interface PairScores {
  /** The metric. */
  readonly clean: number;
  readonly corrupt: number;
  /** logit(answer) - logit(wrong), whatever is measured. */
  readonly differences: { readonly clean: number; readonly corrupt: number };
  /** By edge that was scored. */
  readonly scores: Float64Array;
}

/** Tokens of all runs of a batch: enough for products to be fast. */
const BATCH_TOKENS = 512;
/** Tokens of all pairs of a batch, over which every source's outputs are held. */
const SOURCE_TOKENS = 128;

/** Pairs that run together. @param length tokens of each @param runs gradients of each */
export function pairsPerBatch(length: number, runs: number): number {
  return Math.max(1, Math.floor(Math.min(BATCH_TOKENS / runs, SOURCE_TOKENS) / length));
}

/**
 * Edge attribution patching: of every edge, the sum over positions of its source's corrupt less clean output times the metric's
 * gradient at its destination's input, which is the mean over some runs. All edges into a layer are one product: gradients
 * [destinations, positions * d_model] times differences [sources, positions * d_model].
 * @returns by pair, scores of all edges of the graph by number
 * @see Syed et al. 2023, Attribution Patching Outperforms Automated Circuit Discovery; Hanna et al. 2024, Have Faith in Faithfulness
 */
export async function gradientScores(batch: PairBatch, runs: GradientRuns): Promise<PairScores[]> {
  const { model, graph, pairs, metric } = batch;
  const { n_layers } = model.config;
  const { shares, onLayer, turn, onShare } = runs;
  const { sides, cleanLogits, embeds, differences } = await sourceRuns(batch, runs);
  const scores = pairs.map(() => new Float64Array(graph.size));
  try {
    const parts = evenBatches(shares.length, pairs.length * pairs[0]!.clean.length);
    for (const [b, { first, count }] of parts.entries()) {
      const resid = between(embeds, shares.slice(first, first + count));
      const run = storeRun(model, { resid, startLayer: 0 }, { onLayer });
      const rows = pairs.flatMap((pair) => new Array<TokenPair>(count).fill(pair));
      const clean = tf.tidy(() => repeated(cleanLogits, count));
      const { gradient } = metricGradient(run.logits, pairMetric(metric, rows, clean));
      try {
        for (const step of backward(run, gradient, { inputs: true })) {
          onLayer();
          addStep(step, batch, (destination, gradients) => {
            const values = products(batch, destination, { gradients, differences });
            const start = graph.firstInto(destination);
            const edges = values.length / pairs.length;
            for (let i = 0; i < values.length; i++)
              scores[Math.floor(i / edges)]![start + (i % edges)]! += values[i]! / shares.length;
          });
          onShare((b + (n_layers - step.layer) / n_layers) / parts.length);
          await turn?.();
        }
      } finally {
        tf.dispose([resid, gradient, clean]);
        run.dispose();
      }
    }
  } finally {
    tf.dispose([...embeds, differences, cleanLogits]);
  }
  return scores.map((each, p) => ({ ...sides[p]!, scores: each }));
}

/** Rows, each so many times [rows * count, ...]; inside a tidy. */
function repeated(x: Tensor, count: number): Tensor {
  const [rows, ...rest] = x.shape as [number, ...number[]];
  const apart = tf.reshape(x, [rows, 1, ...rest]);
  return tf.reshape(tf.tile(apart, [1, count, ...rest.map(() => 1)]), [rows * count, ...rest]);
}

/** Embeddings on the way from corrupt to clean [pairs * shares, positions, d_model]. @param embeds clean and corrupt [pairs, positions, d_model] */
function between([clean, corrupt]: readonly [Tensor, Tensor], shares: readonly number[]): Tensor {
  return tf.tidy(() => {
    const [pairs, positions, d_model] = clean.shape as [number, number, number];
    const way = tf.tensor4d([...shares], [1, shares.length, 1, 1]);
    const [from, to] = [corrupt, clean].map((x) => tf.reshape(x, [pairs, 1, positions, d_model]));
    return tf.reshape(tf.add(from!, tf.mul(way, tf.sub(to!, from!))), [pairs * shares.length, positions, d_model]);
  });
}

/** Gives a step's gradients to `add`, with the place of the first destination that they are at. @param add gradients [destinations, rows, positions * d_model] */
function addStep(
  { layer, resid, inputs }: BackwardStep,
  { model, graph }: PairBatch,
  add: (destination: number, gradients: Tensor) => void,
): void {
  const flat = (x: Tensor): Tensor => {
    const [rows, positions, width] = x.shape.slice(-3) as [number, number, number];
    return tf.reshape(x, [-1, rows, positions * width]);
  };
  tf.tidy(() => {
    if (layer === model.config.n_layers) return add(graph.placeOf("logits")!, flat(resid));
    add(graph.placeOf(`a${layer}.h0<q>`)!, flat(inputs!.heads));
    if (inputs!.mlp) add(graph.placeOf(`m${layer}`)!, flat(inputs!.mlp));
  });
}

/** Scores of the edges into consecutive destinations, [pairs][destinations][sources] in a row. */
function products(
  { graph, pairs }: PairBatch,
  destination: number,
  { gradients, differences }: { gradients: Tensor; differences: Tensor },
): ArrayLike<number> {
  return tf.tidy(() => {
    const [destinations, rows, width] = gradients.shape as [number, number, number];
    const sources = graph.sourcesOf(graph.destinations[destination]!);
    const byPair = tf.sum(tf.reshape(gradients, [destinations, pairs.length, rows / pairs.length, width]), 2);
    const own = tf.slice(differences, [0, 0, 0], [pairs.length, sources, width]);
    return tf.matMul(tf.transpose(byPair, [1, 0, 2]), own, false, true).dataSync();
  });
}

/** Runs both sides of all pairs in one batch. @throws HeadscopeError (input) for logits that are no numbers */
async function sourceRuns(batch: PairBatch, { onLayer, turn }: Interrupts) {
  const { model, pairs, metric } = batch;
  const { n_layers, attn_only } = model.config;
  const hooks = ["attn.hook_result", ...(attn_only ? [] : ["hook_mlp_out"])];
  const layers = Array.from({ length: n_layers }, (_, l) => l);
  const embed = blockHook(0, "hook_resid_pre");
  const names = [embed, ...layers.flatMap((layer) => hooks.map((hook) => blockHook(layer, hook)))];
  const tokens = [...pairs.map(({ clean }) => clean), ...pairs.map(({ corrupt }) => corrupt)];
  const result = await forwardInTurns(model, { tokens, logitsAt: "last" }, { names, onLayer: () => onLayer() }, turn);
  try {
    const rows = [...pairs, ...pairs];
    const logitDifferences = metricValues(result.logits!, pairMetric("logit-diff", rows));
    const odd = logitDifferences.findIndex((difference) => !Number.isFinite(difference));
    if (odd >= 0) throw notFinite(model, "the logits", [tokens[odd]!]);
    const at = (name: string): Tensor => result.activations.get(name)!;
    const half = (x: Tensor, side: number): Tensor => {
      const rest = x.shape.slice(1);
      return tf.slice(x, [side * pairs.length, ...rest.map(() => 0)], [pairs.length, ...rest]);
    };
    const difference = (x: Tensor, sources: number): Tensor =>
      tf.reshape(tf.sub(half(x, 1), half(x, 0)), [pairs.length, sources, -1]);
    const differences = tf.tidy(() =>
      tf.concat(
        [
          difference(at(embed), 1),
          ...layers.flatMap((layer) => [
            headDifference(batch, layer, at(blockHook(layer, "attn.hook_result")), difference),
            ...(attn_only ? [] : [difference(at(blockHook(layer, "hook_mlp_out")), 1)]),
          ]),
        ],
        1,
      ),
    );
    const embeds = [half(at(embed), 0), half(at(embed), 1)] as const;
    const cleanLogits = half(result.logits!, 0);
    const metrics = tf.tidy(() =>
      metricValues(result.logits!, pairMetric(metric, rows, tf.concat([cleanLogits, cleanLogits]))),
    );
    const both = (values: readonly number[], p: number) => ({ clean: values[p]!, corrupt: values[pairs.length + p]! });
    const sides = pairs.map((_, p) => ({ ...both(metrics, p), differences: both(logitDifferences, p) }));
    return { sides, cleanLogits, embeds, differences };
  } finally {
    result.dispose();
  }
}

/** Differences of a layer's heads [pairs, heads, positions * d_model]. @param result [rows, positions, heads, d_model] */
function headDifference(
  { model }: PairBatch,
  layer: number,
  result: Tensor,
  difference: (x: Tensor, sources: number) => Tensor,
): Tensor {
  const { config, weights } = model;
  const { heads } = behindNorm(tf.transpose(result, [0, 2, 1, 3]), { weights: weights.blocks[layer]!, config });
  return difference(heads, config.n_heads);
}
