import type { Tensor } from "@tensorflow/tfjs";
import { backward } from "../../models/backward/backward.ts";
import type { BackwardStep } from "../../models/backward/step.ts";
import { storeRun } from "../../models/backward/stored-run.ts";
import { tf } from "../../runtime/tf.ts";
import { evenBatches, type Interrupts } from "../batches.ts";
import { metricGradient, pairMetric } from "../metrics/measure.ts";
import { type SplitPair, sourceDifferences } from "./exact.ts";

/** Runs whose mean gradient an estimate takes. */
export interface GradientRuns extends Interrupts {
  /** Shares of the way from the corrupt prompt's embedding to the clean one's: a run each; 1 is the clean run. */
  readonly shares: readonly number[];
  /** Called with the share of the work that is done, 0 to 1. */
  onShare(share: number): void;
}

/**
 * Edge attribution patching: of every edge, the sum over positions of its source's corrupt less clean output times the metric's
 * gradient at its destination's input, which is the mean over some runs. All edges into a layer are one product: gradients
 * [destinations, positions * d_model] times differences [sources, positions * d_model].
 * @returns scores of all edges of the graph, by number
 * @see Syed et al. 2023, Attribution Patching Outperforms Automated Circuit Discovery; Hanna et al. 2024, Have Faith in Faithfulness
 */
export async function gradientScores(
  split: SplitPair,
  { shares, onLayer, turn, onShare }: GradientRuns,
): Promise<Float64Array> {
  const { model, graph, pair, clean, corrupt } = split;
  const { n_layers, d_model } = model.config;
  const length = pair.clean.length;
  const scores = new Float64Array(graph.size);
  const differences = tf.tidy(() => {
    const whole = tf.reshape(sourceDifferences(split), [graph.sources.length, -1, d_model]);
    return tf.reshape(tf.slice(whole, [0, 0, 0], [-1, length, -1]), [graph.sources.length, length * d_model]);
  });
  /** Adds the scores of the edges into consecutive destinations. @param gradients [destinations, rows, positions * d_model] */
  const add = (first: string, gradients: Tensor): void => {
    const place = graph.placeOf(first)!;
    const sources = graph.sourcesOf(graph.destinations[place]!);
    const values = tf.tidy(() => {
      const own = tf.slice(differences, [0, 0], [sources, length * d_model]);
      return tf.matMul(tf.sum(gradients, 1), own as typeof gradients, false, true).dataSync();
    });
    const start = graph.firstInto(place);
    values.forEach((value, i) => {
      scores[start + i]! += value / shares.length;
    });
  };
  try {
    const batches = evenBatches(shares.length, length);
    for (const [b, { first, count }] of batches.entries()) {
      const resid = tf.tidy(() => {
        const [from, to] = [corrupt.pre[0]!, clean.pre[0]!].map((x) => tf.slice(x, [0, 0, 0], [1, length, d_model]));
        const way = tf.tensor3d([...shares.slice(first, first + count)], [count, 1, 1]);
        return tf.add(from!, tf.mul(way, tf.sub(to!, from!)));
      });
      const run = storeRun(model, { resid, startLayer: 0 }, { onLayer });
      const { gradient } = metricGradient(run.logits, pairMetric("logit-diff", [pair]));
      try {
        for (const step of backward(run, gradient, { inputs: true })) {
          onLayer();
          addStep(step, n_layers, add);
          onShare((b + (n_layers - step.layer) / n_layers) / batches.length);
          await turn?.();
        }
      } finally {
        tf.dispose([resid, gradient]);
        run.dispose();
      }
    }
  } finally {
    differences.dispose();
  }
  return scores;
}

/** Adds the scores of edges into one step's destinations. */
function addStep(
  { layer, resid, inputs }: BackwardStep,
  n_layers: number,
  add: (first: string, gradients: Tensor) => void,
): void {
  const flat = (x: Tensor): Tensor => {
    const [rows, positions, width] = x.shape.slice(-3) as [number, number, number];
    return tf.reshape(x, [-1, rows, positions * width]);
  };
  tf.tidy(() => {
    if (layer === n_layers) return add("logits", flat(resid));
    add(`a${layer}.h0<q>`, flat(inputs!.heads));
    if (inputs!.mlp) add(`m${layer}`, flat(inputs!.mlp));
  });
}
