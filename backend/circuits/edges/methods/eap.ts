import type { Tensor } from "@tensorflow/tfjs";
import { notFinite } from "../../../hooks/finite.ts";
import { backward } from "../../../models/backward/backward.ts";
import { disposeGradient } from "../../../models/backward/logit-gradient.ts";
import type { BackwardStep } from "../../../models/backward/step.ts";
import { storeRun } from "../../../models/backward/stored-run.ts";
import { forwardInTurns } from "../../../models/forward/turns.ts";
import type { Affine } from "../../../models/forward/types.ts";
import { blockHook } from "../../../models/transformer/hook-points.ts";
import { tf } from "../../../runtime/tf.ts";
import { evenBatches, type Interrupts } from "../../batches.ts";
import { logitGradient, metricValues, pairMetric } from "../../metrics/measure.ts";
import type { TokenPair } from "../../pairs.ts";
import { behindNorm } from "../split-block.ts";
import type { PairBatch, PairScores } from "./batch.ts";
import type { Ends, Way, Ways } from "./ways.ts";

/** Runs whose mean gradient an estimate takes. */
export interface GradientRuns extends Interrupts {
  /** Shares of the way, a run each: of the straight one 1 is the clean run. */
  readonly shares: readonly number[];
  /** Runs of which the edges from sources take the mean, made from the pairs' embeddings in the clean and in the corrupt run. */
  readonly ways: (embeds: Ends) => Promise<Ways>;
  /** Called with the share of the work that is done, 0 to 1. */
  onShare(share: number): void;
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
  const { sides, cleanLogits, embeds, differences } = await sourceRuns(batch, runs);
  try {
    const scores = batch.pairs.map(() => new Float64Array(batch.graph.size));
    const { ways, dispose } = await runs.ways(embeds);
    try {
      for (const [w, way] of ways.entries()) {
        const onShare = (share: number): void => runs.onShare((w + share) / ways.length);
        await addWay(way, { batch, cleanLogits, differences, scores }, { ...runs, onShare });
      }
    } finally {
      dispose();
    }
    return scores.map((each, p) => ({ ...sides[p]!, scores: each }));
  } finally {
    tf.dispose([...embeds, differences, cleanLogits]);
  }
}

/** Scores that are being added up. */
interface Estimate {
  readonly batch: PairBatch;
  /** [pairs, 1, outputs] */
  readonly cleanLogits: Tensor;
  /** Corrupt less clean output of every source [pairs, sources, positions * d_model]. */
  readonly differences: Tensor;
  /** By pair, of all edges. */
  readonly scores: readonly Float64Array[];
}

/** Adds the scores of the edges from a way's sources. */
async function addWay(way: Way, estimate: Estimate, runs: GradientRuns): Promise<void> {
  const { model, pairs, metric } = estimate.batch;
  const { n_layers } = model.config;
  const { shares, onLayer, turn, onShare } = runs;
  const parts = evenBatches(shares.length, pairs.length * pairs[0]!.clean.length);
  for (const [b, { first, count }] of parts.entries()) {
    const start = startOf(way, shares.slice(first, first + count));
    const { resid, interventions } = start;
    const run = storeRun(model, { resid, startLayer: way.startLayer }, { onLayer, interventions });
    const rows = pairs.flatMap((pair) => new Array<TokenPair>(count).fill(pair));
    const clean = tf.tidy(() => repeated(estimate.cleanLogits, count));
    const { gradient } = logitGradient(run.logits, pairMetric(metric, rows, clean));
    try {
      for (const step of backward(run, gradient, { inputs: true })) {
        onLayer();
        addStep(step, estimate.batch, (destination, gradients) =>
          addProducts(estimate, destination, { gradients, sources: way.sources, weight: 1 / shares.length }),
        );
        const steps = 1 + n_layers - way.startLayer;
        onShare((b + (1 + n_layers - step.layer) / steps) / parts.length);
        await turn?.();
      }
    } finally {
      disposeGradient(gradient);
      clean.dispose();
      run.dispose();
      start.dispose();
    }
  }
}

/** The beginning of a way's runs, each pair at every share [pairs * shares, positions, d_model]. */
function startOf({ path, inside }: Way, shares: readonly number[]) {
  const points = path(shares);
  const none = new Map<string, Affine>();
  if (!inside) return { resid: points, interventions: none, dispose: () => points.dispose() };
  const resid = tf.tidy(() => repeated(inside.stream, shares.length));
  const gain = tf.zeros([1, 1, 1]);
  return {
    resid,
    interventions: new Map([[inside.name, { gain, bias: points }]]),
    dispose: () => tf.dispose([resid, gain, points]),
  };
}

/** Rows, each so many times [rows * count, ...]; inside a tidy. */
function repeated(x: Tensor, count: number): Tensor {
  const [rows, ...rest] = x.shape as [number, ...number[]];
  const apart = tf.reshape(x, [rows, 1, ...rest]);
  return tf.reshape(tf.tile(apart, [1, count, ...rest.map(() => 1)]), [rows * count, ...rest]);
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

/** Adds the products of the edges from some sources into consecutive destinations. @param destination place of the first */
function addProducts(
  { batch: { graph, pairs }, differences, scores }: Estimate,
  destination: number,
  part: { gradients: Tensor; sources: Way["sources"]; weight: number },
): void {
  const { gradients, weight } = part;
  const { first } = part.sources;
  const [destinations, rows, width] = gradients.shape as [number, number, number];
  const into = graph.sourcesOf(graph.destinations[destination]!);
  const count = Math.min(part.sources.count, into - first);
  if (count <= 0) return;
  const values = tf.tidy(() => {
    const byPair = tf.sum(tf.reshape(gradients, [destinations, pairs.length, rows / pairs.length, width]), 2);
    const own = tf.slice(differences, [0, first, 0], [pairs.length, count, width]);
    return tf.matMul(tf.transpose(byPair, [1, 0, 2]), own, false, true).dataSync(); // [pairs, destinations, count]
  });
  const start = graph.firstInto(destination) + first;
  scores.forEach((own, p) => {
    for (let d = 0; d < destinations; d++)
      for (let s = 0; s < count; s++)
        own[start + d * into + s]! += weight * values[(p * destinations + d) * count + s]!;
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
