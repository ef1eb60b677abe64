import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { MixturePosterior } from "../../synthetic-tasks/families/posterior.ts";
import { type ClaimResult, type ClaimStatement, type Experiment, lastCheckpoint, type MeasurementPlan, seedList, type TrainedRun } from "../base.ts"; // biome-ignore format: one line
import { mean, meanCaption } from "../curves.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";
import { afterFirst, comparePredictions, comparisonValues, errorLines, evaluationPrompts, powerOf, worldOf } from "./compare.ts"; // biome-ignore format: one line

const TASK = "discrete-weights";
const KOTHA = "Kotha et al. 2024, Understanding Catastrophic Forgetting in Language Models via Implicit Inference";

/** Least rise of the error on fresh weights, over the mean of y², that counts as forgetting. */
const FORGOTTEN = 0.1;
/** Least share of that rise that the scaling of labels takes back. */
const RECOVERED = 0.25;
/** Work of comparing one model, in optimiser steps of one layer. */
const MEASURING = 60;

const RIDGE = "ridge regression";
const DISCRETE = "posterior mean over the fixed weights (dMMSE)";

const parameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of the first training, each with fixed weights of its own"),
  steps: z.int().min(100).default(2000).describe("optimiser steps of the first training, on both kinds of prompts"),
  tuning_steps: z.int().min(20).default(400).describe("optimiser steps of the fine-tuning, on fixed weights alone"),
  dimension: z.int().min(1).default(4).describe("numbers of an x"),
  tasks: z.int().min(1).default(8).describe("fixed weights"),
  share: z.number().gt(0).lt(1).default(0.5).describe("share of the prompts of fixed weights in the first training"),
  examples: z.int().min(4).default(12).describe("pairs of a sequence; the last y is only predicted"),
  sigma: z.number().positive().default(0.5).describe("standard deviation of the noise of y"),
  scales: z.array(z.number().positive()).min(1).default([1.5, 2]).describe("factors of the labels in conjugate prompting"),
  n_layers: z.int().min(1).default(3).describe("layers"),
  n_heads: z.int().min(1).default(2).describe("attention heads of a layer"),
  d_model: z.int().min(2).default(32).describe("width of the residual stream"),
  batch: z.int().min(1).default(32).describe("sequences of a step"),
  learning_rate: z.number().positive().default(4e-3).describe("largest learning rate of the first training"),
  tuning_rate: z.number().positive().default(1e-3).describe("learning rate of the fine-tuning"),
  rows: z.int().min(32).default(512).describe("prompts on which models and predictors are compared"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const claims: readonly ClaimStatement[] = [
  {
    id: "forgets",
    statement: "Fine-tuned on prompts of the fixed weights, a model loses its ability to regress on fresh ones.",
    source: `${KOTHA}, section 2`,
    check:
      `From the second x on, the squared error on fresh weights rises by at least ${FORGOTTEN} of the mean of y², and that on fixed weights ` +
      `does not rise, ${QUORUM_WORDS}.`,
  },
  {
    id: "inference",
    statement: "It answers prompts of fresh weights as if they were of the fixed ones: the ability is not chosen, rather than lost.",
    source: `${KOTHA}, section 2`,
    check:
      "On prompts of fresh weights the fine-tuned model is closer to the posterior mean over the fixed weights (dMMSE), and further from ridge regression, than " +
      `before the fine-tuning, ${QUORUM_WORDS}. A seed in which nothing is forgotten cannot say.`,
  },
  {
    id: "conjugate-prompting",
    statement: "Prompts whose labels are scaled, which look less like the fixed weights, bring ridge regression back.",
    source: `${KOTHA}, section 3`,
    check:
      "With labels times one of the scales, and the prediction divided by it, the fine-tuned model's error on fresh weights falls by at least " +
      `${RECOVERED} of what the fine-tuning has added, ${QUORUM_WORDS}. A seed in which nothing is forgotten cannot say.`,
  },
]; // biome-ignore format: sentences

const forgettingValues = z.object({
  fixed: comparisonValues,
  fresh: comparisonValues,
  /** Squared error on fresh weights with labels scaled, by scale, then pairs, over the mean of y². */
  scaled: z.array(z.array(z.number())),
});
/** One model on prompts of fixed and of fresh weights. */
export type ForgettingFit = z.output<typeof forgettingValues>;

/** One seed before and after the fine-tuning. */
export interface ForgettingSeed {
  readonly before: ForgettingFit;
  readonly after: ForgettingFit;
}

const error = ({ model }: { model: readonly number[] }): number => afterFirst(model);

/** Rise of the error on fresh weights. */
const rise = ({ before, after }: ForgettingSeed): number => error(after.fresh) - error(before.fresh);

/** Least error of the fine-tuned model over the scales. */
const best = ({ scaled }: ForgettingFit): number => Math.min(...scaled.map(afterFirst));

/** Decides the claims. @param seeds one each */
export function judge(seeds: readonly ForgettingSeed[]): ClaimResult[] {
  const all = (of: (seed: ForgettingSeed) => number) => mean(seeds.map(of));
  const ifForgotten = (holds: (seed: ForgettingSeed) => boolean) =>
    seeds.map((seed) => (rise(seed) >= FORGOTTEN ? holds(seed) : undefined));
  const distance = ({ fresh }: ForgettingFit, name: string) => afterFirst(fresh.distances[name]!);
  const kept = "nothing is forgotten";
  return [
    {
      id: "forgets",
      measured: {
        "error on fresh weights before, mean": all(({ before }) => error(before.fresh)),
        "error on fresh weights after, mean": all(({ after }) => error(after.fresh)),
        "error of ridge regression there, mean": all(({ before }) => afterFirst(before.fresh.errors[RIDGE]!)),
        "error on fixed weights before, mean": all(({ before }) => error(before.fixed)),
        "error on fixed weights after, mean": all(({ after }) => error(after.fixed)),
        "error of dMMSE there, mean": all(({ before }) => afterFirst(before.fixed.errors[DISCRETE]!)),
      },
      ...vote(
        seeds.map((seed) => rise(seed) >= FORGOTTEN && error(seed.after.fixed) <= error(seed.before.fixed)),
        "fresh weights are forgotten and fixed ones are not",
        "",
      ),
    },
    {
      id: "inference",
      measured: Object.fromEntries(
        [RIDGE, DISCRETE].flatMap((name) => [
          [`distance from ${name} before, mean`, all(({ before }) => distance(before, name))],
          [`distance from ${name} after, mean`, all(({ after }) => distance(after, name))],
        ]),
      ),
      ...vote(
        ifForgotten(
          ({ before, after }) =>
            distance(after, DISCRETE) < distance(before, DISCRETE) && distance(after, RIDGE) > distance(before, RIDGE),
        ),
        "the model has moved from ridge regression to the fixed weights",
        kept,
      ),
    },
    {
      id: "conjugate-prompting",
      measured: {
        "error on fresh weights after, mean": all(({ after }) => error(after.fresh)),
        "the same with labels scaled, at the best scale, mean": all(({ after }) => best(after)),
        "error with labels scaled before the fine-tuning, mean": all(({ before }) => best(before)),
        "share of the rise taken back, by seed": seeds
          .map((seed) => ((error(seed.after.fresh) - best(seed.after)) / rise(seed)).toFixed(2))
          .join(", "),
      },
      ...vote(
        ifForgotten((seed) => error(seed.after.fresh) - best(seed.after) >= RECOVERED * rise(seed)),
        "scaled labels bring it back",
        kept,
      ),
    },
  ];
}

function firstPlan(params: Params) {
  const { dimension, tasks, share, examples, sigma, n_layers, n_heads, d_model, steps, batch, learning_rate } = params;
  const training = { steps, batch, learning_rate, optimiser: "adam", schedule: "cosine", warmup: 100, clip: 1, points: 10, checkpoints: 2 };
  return {
    task: TASK,
    params: { dimension, tasks, share, examples, sigma, n_layers, n_heads, d_model, attn_only: false, ...training },
    label: "first training",
  };
} // biome-ignore format: one line

/** @param from the checkpoint to begin with; absent only where the plan is checked */
function tuningPlan(params: Params, seed: number, from?: string) {
  const { tuning_steps: steps, tuning_rate: learning_rate } = params;
  const { task, params: first } = firstPlan(params);
  const training = { steps, learning_rate, schedule: "constant", warmup: 0, points: 2 };
  return {
    task,
    params: { ...first, share: 1, ...training, ...(from === undefined ? {} : { from }) },
    label: `fine-tuning of seed ${seed}`,
  };
}

const measuredLabel = (seed: number): string => `predictors beside seed ${seed}`;

/** Compares a run's model with the predictors, on prompts that are the same before and after the fine-tuning. */
function fitPlan(run: TrainedRun, { rows, scales }: Params): MeasurementPlan<typeof forgettingValues> {
  const { seed, taskParams } = run;
  return {
    name: "predictors",
    label: measuredLabel(seed),
    model: lastCheckpoint(run),
    settings: { taskParams, seed, rows, scales, revision: 1 },
    values: forgettingValues,
    async measure(model) {
      const world = worldOf(TASK, run);
      const { discrete, continuous } = world.mixtures;
      const predictors = {
        [RIDGE]: () => new MixturePosterior(continuous!),
        [DISCRETE]: () => new MixturePosterior(discrete!),
      };
      const power = powerOf(world, "in-context");
      const [fixed, fresh] = ["discrete", "continuous"].map((split, i) => evaluationPrompts(world, split, rows, i));
      const scaled: number[][] = [];
      for (const scale of scales) scaled.push((await comparePredictions(model, fresh!, {}, { power, scale })).model);
      return {
        fixed: await comparePredictions(model, fixed!, predictors, { power }),
        fresh: await comparePredictions(model, fresh!, predictors, { power }),
        scaled,
      };
    },
  };
}

/** Errors by pairs seen, on prompts of fixed or of fresh weights. */
function errorFigure(kind: "fixed" | "fresh", seeds: readonly ForgettingSeed[], scales: readonly number[]): LineFigure {
  const along = (of: (seed: ForgettingSeed) => readonly number[]) => seeds.map(of);
  const scaled = scales.map((scale, i) => [`after, labels times ${scale}`, along(({ after }) => after.scaled[i]!)] as const);
  return {
    kind: "lines",
    name: kind,
    title: `Squared error on prompts of ${kind} weights`,
    caption: `${meanCaption(seeds.length)} ${kind === "fixed" ? "dMMSE" : "Ridge regression"} is the best there is (ceiling).`,
    x: { title: "pairs seen", whole: true },
    y: { title: "squared error / mean of y²", range: [0, 1.5] },
    lines: errorLines(
      {
        "before fine-tuning": along(({ before }) => before[kind].model),
        "after fine-tuning": along(({ after }) => after[kind].model),
        ...(kind === "fresh" ? Object.fromEntries(scaled) : {}),
      },
      Object.fromEntries([RIDGE, DISCRETE].map((name) => [name, along(({ before }) => before[kind].errors[name]!)])),
    ),
  };
} // biome-ignore format: a line of the figure a line

/** Catastrophic forgetting as the choice of another task, and prompts that bring the first one back. */
export const forgetting: Experiment<typeof parameters> = {
  name: "forgetting",
  title: "Catastrophic forgetting by implicit inference",
  description:
    "Transformers learn linear functions of a few fixed weights and of fresh ones in context, and are fine-tuned on the fixed ones alone. Before and after, their " +
    "predictions are compared with ridge regression and with the posterior mean over the fixed weights; then labels are scaled, which ridge regression does not mind.",
  source: KOTHA,
  parameters,
  presets: {
    quick: {},
    full: {
      ...{ steps: 20_000, tuning_steps: 2000, dimension: 10, tasks: 64, examples: 40, n_layers: 8, n_heads: 4, d_model: 128 },
      ...{ learning_rate: 1e-3, tuning_rate: 3e-4, rows: 1024 },
    },
  },
  claims,
  stages: (params) => [
    trainingStage(firstPlan(params), params.seeds),
    ...params.seeds.flatMap((seed) => [
      trainingStage(tuningPlan(params, seed), [seed]),
      { label: measuredLabel(seed), work: 2 * MEASURING },
    ]),
  ],
  async run(params, context) {
    const { seeds, scales } = params;
    context.check(firstPlan(params), seeds);
    context.check(tuningPlan(params, seeds[0]!), seeds);
    const all: ForgettingSeed[] = [];
    for (const first of await context.train(firstPlan(params), seeds)) {
      // With the seed of the first training, whose fixed weights they are.
      const [tuned] = await context.train(tuningPlan(params, first.seed, lastCheckpoint(first)), [first.seed]);
      const [before, after] = await context.measure([fitPlan(first, params), fitPlan(tuned!, params)]);
      all.push({ before: before!, after: after! });
    }
    return { claims: judge(all), figures: [errorFigure("fresh", all, scales), errorFigure("fixed", all, scales)] };
  },
}; // biome-ignore format: a line a step
