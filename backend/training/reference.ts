import { Random } from "../common/random.ts";
import { EVALUATION_STREAM } from "./evaluations.ts";
import type { TrainSpec } from "./spec.ts";
import type { Batch, SyntheticTask, TaskShape } from "./task.ts";

/** The measures of a predictor on a batch, as `Evaluator` has those of a model. */
export interface PredictorLevel {
  readonly loss: number;
  /** Of classes. */
  readonly accuracy?: number;
}

/**
 * Measures a task's reference predictor on the rows on which a run of this specification and seed is evaluated.
 * @returns by the evaluation's name; nothing where the task has no reference
 */
export function referenceLevels(
  task: SyntheticTask,
  { params, training }: Pick<TrainSpec, "params" | "training">,
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
 * @param predictions [rows, scored, output width]: log-probabilities of classes, or values
 */
export function predictorLevel(
  { output }: Pick<TaskShape, "output">,
  { weights, classes, values }: Batch,
  predictions: Float64Array,
): PredictorLevel {
  const width = output.kind === "classes" ? output.count : output.width;
  let [loss, right, total] = [0, 0, 0];
  weights.forEach((weight, i) => {
    if (weight === 0) return; // what stands there is of no meaning
    const own = predictions.subarray(i * width, (i + 1) * width);
    total += weight;
    if (output.kind === "classes") {
      loss -= weight * own[classes![i]!]!;
      right += own.indexOf(Math.max(...own)) === classes![i] ? weight : 0;
    } else loss += (weight * own.reduce((sum, value, j) => sum + (value - values![i * width + j]!) ** 2, 0)) / width;
  });
  return output.kind === "classes" ? { loss: loss / total, accuracy: right / total } : { loss: loss / total };
}
