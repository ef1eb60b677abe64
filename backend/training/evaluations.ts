import type { Tensor } from "@tensorflow/tfjs";
import { Random } from "../common/random.ts";
import type { TrainSpec } from "./spec.ts";
import type { Evaluator } from "./step.ts";
import { type Batch, outputWidth, type SyntheticTask, type TaskShape, targetWidth } from "./task.ts";

/** Streams of a seed from which evaluations are drawn, one each in their order; steps have the streams from 0 on. */
export const EVALUATION_STREAM = 0xf0000000;

/** A task as a seed sees it, and the means to evaluate its models. */
export interface EvaluatedTask {
  readonly task: SyntheticTask;
  readonly spec: TrainSpec;
  readonly world: unknown;
  readonly seed: number;
  readonly evaluator: Evaluator;
}

/**
 * Evaluates parameters [parameters] on every held-out split of a task, the same rows whatever the parameters.
 * @param options `stream` shifts the streams that the rows come from, for rows that no run was evaluated on, default 0; `only` names the one
 *   split that is wanted
 * @returns `EVALUATION.loss` and `EVALUATION.accuracy`
 */
export function evaluateTask(
  { task, spec, world, seed, evaluator }: EvaluatedTask,
  parameters: Tensor,
  { stream = 0, only }: { stream?: number; only?: string } = {},
): Record<string, number> {
  const values: Record<string, number> = {};
  Object.entries(task.evaluations).forEach(([name, evaluation], e) => {
    if (only !== undefined && name !== only) return;
    const random = new Random(seed, EVALUATION_STREAM + stream + e);
    const batch = evaluation.sample(world, spec.params, random, spec.training.evaluation_rows);
    for (const [what, value] of Object.entries(evaluator.evaluate(parameters, batch)))
      values[`${name}.${what}`] = value;
  });
  return values;
}

/** Names of what `evaluateTask` gives: of classes the accuracy of each split, then its loss. @param params the task's, complete */
export function evaluationMetrics(task: SyntheticTask, params: TrainSpec["params"]): string[] {
  const measures = task.shape(params).output.kind === "classes" ? ["accuracy", "loss"] : ["loss"];
  return Object.keys(task.evaluations).flatMap((name) => measures.map((each) => `${name}.${each}`));
}

/** The measure by which runs of a task are told apart where nobody names one: the first evaluation's accuracy or, where it has none, loss. */
export function mainMetric(task: SyntheticTask, params: TrainSpec["params"]): string {
  return evaluationMetrics(task, params)[0]!;
}

/** The measures of a predictor on a batch, as `Evaluator` has those of a model. */
export interface PredictorLevel {
  /** Absent where the predictor gave no probability to something that came. */
  readonly loss?: number;
  /** Of classes. */
  readonly accuracy?: number;
}

/**
 * Measures a task's reference predictor on the rows on which a run of this specification and seed is evaluated.
 * @returns by the evaluation's name; nothing where the task has no reference
 */
export function referenceLevels(
  task: SyntheticTask,
  {
    params,
    training,
  }: Pick<TrainSpec, "params"> & { readonly training: Pick<TrainSpec["training"], "evaluation_rows"> },
  seed: number,
): Record<string, PredictorLevel> {
  const { reference } = task;
  if (reference === undefined) return {};
  const world = task.world(params, seed);
  const shape = task.shape(params);
  const levels = Object.entries(task.evaluations).map(([name, evaluation], e) => {
    const random = new Random(seed, EVALUATION_STREAM + e);
    const batch = evaluation.sample(world, params, random, training.evaluation_rows);
    return [name, predictorLevel(shape, batch, reference.predict(world, params, batch))] as const;
  });
  return Object.fromEntries(levels);
}

/**
 * Loss and, of classes, accuracy of predictions, means by the batch's weights.
 * @param predictions [rows, scored, output width]: log-probabilities of classes, values, or means and log-variances
 */
export function predictorLevel(
  { output }: Pick<TaskShape, "output">,
  { weights, classes, values }: Batch,
  predictions: Float64Array,
): PredictorLevel {
  const width = outputWidth(output);
  const targets = targetWidth(output);
  let [loss, right, total] = [0, 0, 0];
  weights.forEach((weight, i) => {
    if (weight === 0) return; // what stands there is of no meaning
    const own = predictions.subarray(i * width, (i + 1) * width);
    total += weight;
    if (output.kind === "classes") {
      loss -= weight * own[classes![i]!]!;
      right += own.indexOf(Math.max(...own)) === classes![i] ? weight : 0;
    } else loss += weight * valuesLoss(output.kind, own, values!.subarray(i * targets, (i + 1) * targets));
  });
  return {
    ...(Number.isFinite(loss) ? { loss: loss / total } : {}),
    ...(output.kind === "classes" ? { accuracy: right / total } : {}),
  };
}

/** Squared error of values, or negative log-likelihood of normal laws in nats, mean over the width. */
function valuesLoss(kind: "values" | "gaussian", own: Float64Array, targets: Float32Array): number {
  const losses = Array.from(targets, (target, j) => {
    const error = (own[j]! - target) ** 2;
    if (kind === "values") return error;
    const log = own[targets.length + j]!;
    return 0.5 * (log + error * Math.exp(-log) + Math.log(2 * Math.PI));
  });
  return losses.reduce((sum, each) => sum + each, 0) / losses.length;
}
