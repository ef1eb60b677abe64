import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { Random } from "../../backend/common/random.ts";
import type { Model } from "../../backend/models/model.ts";
import { evenMixture, type FamilyPrompts, type Mixture } from "../../synthetic-tasks/families/family.ts";
import type { Mixtures } from "../../synthetic-tasks/families/family-task.ts";
import { MixturePosterior } from "../../synthetic-tasks/families/posterior.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import { type OnlineLearner, predictPrompts, regressionPrompts } from "../../synthetic-tasks/learners/index.ts";
import type { TrainedRun } from "../base.ts";
import { type Curve, levelLine, mean, meanLine } from "../curves.ts";
import { differences, promptOutputs } from "../predictions.ts";

/** Stream of a seed that no batch of the training is drawn from. */
const STREAM = 0xe4000000;

const byPairs = z.array(z.number());

/** Schema of a model beside predictors on the same prompts, by pairs seen, in shares of the mean of y². */
export const comparisonValues = z.object({
  /** Squared error of the model. */
  model: byPairs,
  /** By predictor, its squared error. */
  errors: z.record(z.string(), byPairs),
  /** By predictor, the squared difference of the model from it. */
  distances: z.record(z.string(), byPairs),
});
/** A model beside predictors. */
export type Comparison = z.output<typeof comparisonValues>;

/** A run's task as its seed sees it. */
export interface RunWorld {
  readonly task: string;
  /** The task's parameters, complete. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly seed: number;
  readonly mixtures: Mixtures;
}

/** The world that a run of a family task was trained in. */
export function worldOf(task: string, { taskParams: params, seed }: TrainedRun): RunWorld {
  return { task, params, seed, mixtures: tasks.get(task).world(params, seed) as Mixtures };
}

/** Fresh prompts of an evaluation of a run's task, with the place of each row's family. @param stream 0, 1, … for other prompts */
export function evaluationPrompts(
  { task: name, params, seed, mixtures }: RunWorld,
  evaluation: string,
  rows: number,
  stream = 0,
): Pick<FamilyPrompts, "rows" | "examples" | "x" | "y" | "families"> {
  const task = tasks.get(name);
  const batch = task.evaluations[evaluation]!.sample(mixtures, params, new Random(seed, STREAM + stream), rows);
  const { input } = task.shape(params);
  const dimension = input.kind === "vectors" ? input.width : 1;
  return {
    ...regressionPrompts({ dimension, examples: params["examples"] as number }, batch),
    families: batch.layout!,
  };
}

/** Mean of y² in an evaluation: the loss of answering 0 where losses are squares. */
export function powerOf({ task, params }: Pick<RunWorld, "task" | "params">, evaluation: string): number {
  return tasks.get(task).evaluations[evaluation]!.chance!(params).loss!;
}

/** A predictor of a prompt, by its row. */
export type PromptPredictor = (row: number) => OnlineLearner;

/** Bayes' predictor that knows the family of each row. @param mixture which the rows are of */
export function knowing(mixture: Mixture, { families }: Pick<FamilyPrompts, "families">): PromptPredictor {
  return (row) => new MixturePosterior(evenMixture([mixture[families[row]!]!.family]));
}

/**
 * Compares a model with predictors on prompts.
 * @param power mean of y²
 * @param scale of the y's that the model sees; its predictions are divided by it again
 */
export async function comparePredictions(
  model: Model,
  prompts: Pick<FamilyPrompts, "rows" | "examples" | "x" | "y">,
  predictors: Readonly<Record<string, PromptPredictor>>,
  { power, scale = 1 }: { power: number; scale?: number },
): Promise<Comparison> {
  const scaled = { ...prompts, y: prompts.y.map((y) => scale * y) };
  const predicted = (await promptOutputs(model, scaled)).map((y) => y / scale);
  const shares = (a: ArrayLike<number>, b: ArrayLike<number>) => differences(prompts, a, b).map((value) => value / power);
  const learned = Object.entries(predictors).map(([name, start]) => [name, predictPrompts(start, prompts)] as const);
  return {
    model: shares(predicted, prompts.y),
    errors: Object.fromEntries(learned.map(([name, values]) => [name, shares(values, prompts.y)])),
    distances: Object.fromEntries(learned.map(([name, values]) => [name, shares(predicted, values)])),
  };
} // biome-ignore format: a line a step

/** Mean from the second pair on: of the first x nobody knows anything. */
export function afterFirst(values: readonly number[]): number {
  return mean(values.slice(1));
}

/** Mean over the last third of the pairs. */
export function lastThird(values: readonly number[]): number {
  return mean(values.slice(-Math.ceil(values.length / 3)));
}

/** A curve over the pairs that were seen. */
export function overPairs(values: readonly number[]): Curve {
  return { steps: values.map((_, i) => i), values: [...values] };
}

/** Lines of errors by pairs: models with their bands, predictors dashed, and answering 0. @param lines by name, curves by seed */
export function errorLines(
  models: Readonly<Record<string, readonly (readonly number[])[]>>,
  predictors: Readonly<Record<string, readonly (readonly number[])[]>>,
): LineFigure["lines"] {
  const line = (name: string, seeds: readonly (readonly number[])[]) => meanLine(name, seeds.map(overPairs));
  const drawn = Object.entries(models).map(([name, seeds]) => line(name, seeds));
  const dashed = Object.entries(predictors).map(([name, seeds]) => {
    const { band: _, ...rest } = line(name, seeds);
    return { ...rest, dashed: true };
  });
  return [...drawn, ...dashed, levelLine("answering 0 (chance)", drawn[0]!.x, 1)];
}
