import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { Random } from "../../backend/common/random.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import { windowPrompts } from "../../synthetic-tasks/windows/sliding-window.ts";
import { labelPower, predictWindows, type WindowLaw } from "../../synthetic-tasks/windows/window-prompts.ts";
import { type Experiment, lastCheckpoint, type MeasurementPlan, seedList, type TrainedRun, type TrainingPlan } from "../base.ts"; // biome-ignore format: one line
import { levelLine, meanCaption, meanLine } from "../curves.ts";
import { outputsOf } from "../predictions.ts";
import { trainingStage } from "../progress.ts";
import {
  endOf,
  judge,
  type SequentialSeed,
  SHARES,
  sequentialClaims,
  type WindowFit,
  windowFitValues,
} from "./judge.ts";

const TASK = "sliding-window";
/** Stream of a seed that no batch of the training is drawn from. */
const STREAM = 0xe0000000;
/** Work of measuring one model, in optimiser steps of one layer. */
const MEASURING = 40;

const parameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of each training, trained together"),
  steps: z.int().min(100).default(2000).describe("optimiser steps of each training"),
  dimension: z.int().min(1).default(1).describe("numbers of an x"),
  window: z.int().min(2).default(2).describe("inputs that a y depends on"),
  examples: z.int().min(8).default(12).describe("pairs of a sequence; the last y is only predicted"),
  sigma: z.number().positive().default(0.1).describe("standard deviation of the noise of y"),
  random_labels: z.number().gt(0).lt(1).default(0.5).describe("share of random labels in the training that has them"),
  n_layers: z.int().min(1).default(3).describe("layers"),
  n_heads: z.int().min(1).default(4).describe("attention heads of a layer"),
  d_model: z.int().min(2).default(32).describe("width of the residual stream"),
  batch: z.int().min(1).default(64).describe("sequences of a step"),
  learning_rate: z.number().positive().default(3e-3).describe("largest learning rate"),
  rows: z.int().min(32).default(512).describe("prompts on which models and predictors are compared"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** The trainings: on true labels, and with a share of random ones. */
const KINDS = ["true labels", "random labels"] as const;
type Kind = (typeof KINDS)[number];

/** Without normalisation: of an x of one or two numbers it would keep little but the sign. */
function planOf(params: Params, kind: Kind): TrainingPlan {
  const { dimension, window, examples, sigma, n_layers, n_heads, d_model, steps, batch, learning_rate } = params;
  const task = { dimension, window, examples, sigma, tau: 1 / Math.sqrt(dimension * window), random_labels: kind === "true labels" ? 0 : params.random_labels };
  const training = { steps, batch, learning_rate, schedule: "cosine", warmup: 100, clip: 1, points: 10, checkpoints: 1 };
  return {
    task: TASK,
    params: { ...task, n_layers, n_heads, d_model, attn_only: false, normalization_type: "none", ...training, extra_checkpoints: 0 },
    label: `trained on ${kind}`,
  };
} // biome-ignore format: one line

const lawOf = (run: TrainedRun): WindowLaw & { random_labels: number } => tasks.parse(TASK, run.taskParams) as never;

/** Mean over rows of the squared difference, over the variance of a y [examples]. @param predictions [rows, examples] */
function errorsOf(law: WindowLaw, predictions: ArrayLike<number>, targets: ArrayLike<number>): number[] {
  const rows = predictions.length / law.examples;
  const sums = Array<number>(law.examples).fill(0);
  for (let pair = 0; pair < predictions.length; pair++)
    sums[pair % law.examples]! += (predictions[pair]! - targets[pair]!) ** 2;
  return sums.map((sum) => sum / rows / labelPower(law));
}

/** Compares a run's model with the predictors on prompts that differ in their random labels alone. */
function fitPlan(run: TrainedRun, kind: Kind, { rows }: Params): MeasurementPlan<typeof windowFitValues> {
  return {
    name: "windows",
    label: measuringLabel(kind),
    model: lastCheckpoint(run),
    settings: { taskParams: run.taskParams, seed: run.seed, rows, shares: SHARES, revision: 1 },
    values: windowFitValues,
    async measure(model) {
      const law = lawOf(run);
      const batches = SHARES.map((share) => windowPrompts(law as never, new Random(run.seed, STREAM), rows, share));
      const atInputs = (values: ArrayLike<number>) => Float64Array.from(values).filter((_, at) => at % (2 * law.examples - 1) % 2 === 0);
      const errors = (batch: (typeof batches)[number], predictions: ArrayLike<number>) =>
        errorsOf(law, predictions, atInputs(batch.values!));
      const own: number[][] = [];
      for (const batch of batches) own.push(errors(batch, atInputs(await outputsOf(model, batch))));
      return {
        model: own,
        best: batches.map((batch, s) => errors(batch, predictWindows(law, batch, { share: SHARES[s]! }))),
        alone: errors(batches[0]!, predictWindows(law, batches[0]!, { read: 1 })),
      };
    },
  };
} // biome-ignore format: one line

const measuringLabel = (kind: Kind): string => `predictors beside models of ${kind}`;

/** Errors by pairs seen, beside the predictors. */
function pairsFigure(seeds: readonly SequentialSeed[]): LineFigure {
  const { length } = seeds[0]!.clean.alone;
  const steps = Array.from({ length }, (_, i) => i);
  const line = (name: string, of: (seed: SequentialSeed) => readonly number[], dashed = false) => ({
    ...meanLine(name, seeds.map((seed) => ({ steps, values: [...of(seed)] }))),
    ...(dashed ? { dashed } : {}),
  });
  return {
    kind: "lines",
    name: "pairs",
    title: "Squared error on true labels",
    caption: `${meanCaption(seeds.length)} Bayes' prediction is the best there is (ceiling).`,
    x: { title: "pairs seen", whole: true },
    y: { title: "squared error / variance of y", range: [0, 1.5] },
    lines: [
      line("trained on true labels", ({ clean }) => clean.model[0]!),
      line("trained with random labels", ({ noisy }) => noisy.model[0]!),
      line("Bayes, from the whole window", ({ clean }) => clean.best[0]!, true),
      line("the best linear prediction from x alone", ({ clean }) => clean.alone, true),
      levelLine("answering 0 (chance)", steps, 1),
    ],
  };
} // biome-ignore format: one line

/** Errors at the end of a sequence by the share of random labels. */
function sharesFigure(seeds: readonly SequentialSeed[]): LineFigure {
  const line = (name: string, of: (seed: SequentialSeed) => readonly (readonly number[])[]) =>
    meanLine(name, seeds.map((seed) => ({ steps: SHARES, values: of(seed).map(endOf) })));
  return {
    kind: "lines",
    name: "random-labels",
    title: "Squared error with random labels",
    caption: `${meanCaption(seeds.length)} Over the last quarter of a sequence; the targets are true.`,
    x: { title: "share of random labels in the context" },
    y: { title: "squared error / variance of y", range: [0, 2] },
    lines: [
      { ...line("trained on true labels", ({ clean }) => clean.model), points: true },
      { ...line("trained with random labels", ({ noisy }) => noisy.model), points: true },
      { ...line("the best linear prediction that knows the share", ({ clean }) => clean.best), dashed: true },
      levelLine("answering 0 (chance)", SHARES, 1),
    ],
  };
} // biome-ignore format: one line

/** Functions of a sliding window, learned in context, with true labels and with random ones. */
export const sequentialFunctions: Experiment<typeof parameters> = {
  name: "sequential-functions",
  title: "Sequential function classes: a window of inputs, and random labels",
  description:
    "Transformers learn linear functions of the last inputs in context. Their predictions are compared with Bayes', with the best that one reads from a " +
    "single input, and over the share of labels in the context that are random, for models trained on true labels and with random ones.",
  source: "Campbell et al. 2023, Can Transformers Learn Sequential Function Classes In Context?",
  trials:
    "Five single trainings (seed 10, on true labels) chose sizes, the absence of normalisation and 2,000 steps. " +
    "Thresholds were written before the first trial; after one it was added that `robust` is silent where random " +
    "labels cost less than 0.1.",
  parameters,
  presets: {
    quick: {},
    full: {
      ...{ steps: 30_000, dimension: 5, window: 3, examples: 40, n_layers: 6, n_heads: 4, d_model: 64, batch: 64 },
      ...{ learning_rate: 1e-3, rows: 1024 },
    },
  },
  claims: sequentialClaims,
  stages: (params) =>
    KINDS.flatMap((kind) => [
      trainingStage(planOf(params, kind), params.seeds),
      { label: measuringLabel(kind), work: MEASURING * params.seeds.length },
    ]),
  async run(params, context) {
    for (const kind of KINDS) context.check(planOf(params, kind), params.seeds);
    const fits: WindowFit[][] = [];
    for (const kind of KINDS) {
      const runs = await context.train(planOf(params, kind), params.seeds);
      fits.push(await context.measure(runs.map((run) => fitPlan(run, kind, params))));
    }
    const seeds = params.seeds.map((_, s) => ({ clean: fits[0]![s]!, noisy: fits[1]![s]! }));
    return { claims: judge(seeds), figures: [pairsFigure(seeds), sharesFigure(seeds)] };
  },
}; // biome-ignore format: one line
