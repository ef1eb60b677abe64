import type { Tensor } from "@tensorflow/tfjs";
import { Random } from "../common/random.ts";
import type { TrainSpec } from "./spec.ts";
import type { Evaluator } from "./step.ts";
import type { SyntheticTask } from "./task.ts";

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
