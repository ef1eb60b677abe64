import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { type ClaimResult, type ClaimStatement, type Experiment, lastCheckpoint, type MeasurementPlan, type TrainedRun } from "../base.ts"; // biome-ignore format: one line
import { mean, meanCaption } from "../curves.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";
import { afterFirst, comparePredictions, comparisonValues, errorLines, evaluationPrompts, powerOf, worldOf } from "./compare.ts"; // biome-ignore format: one line
import { bestPredictors, DISCRETE, FORGOTTEN, FULL, firstPlan, MEASURING, RIDGE, TASK, tuningParameters, tuningPlan } from "./fixed-weights.ts"; // biome-ignore format: one line

const KOTHA = "Kotha et al. 2024, Understanding Catastrophic Forgetting in Language Models via Implicit Inference";

/** Least share of that rise that the scaling of labels takes back. */
const RECOVERED = 0.25;

const parameters = tuningParameters.extend({
  scales: z.array(z.number().positive()).min(1).default([1.5, 2]).describe("factors of the labels in conjugate prompting"),
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
      const predictors = bestPredictors(run);
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
  trials:
    "No trial was made: sizes are those of learning-algorithm's smaller models. Steps and batch were set for the " +
    "time; the batch was halved before any run had been looked at. Thresholds were written before any training.",
  parameters,
  presets: {
    quick: {},
    full: FULL,
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
