import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import type { Model } from "../../backend/models/model.ts";
import { withoutSoftPrompt } from "../../backend/models/soft-prompt.ts";
import { type ClaimStatement, type Experiment, type ExperimentContext, lastCheckpoint, type MeasurementPlan, type TrainedRun, type TrainingPlan } from "../base.ts"; // biome-ignore format: one line
import { meanCaption, meanLine } from "../curves.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS } from "../verdicts.ts";
import { comparePredictions, comparisonValues, errorLines, evaluationPrompts, overPairs, powerOf, worldOf } from "./compare.ts"; // biome-ignore format: one line
import { bestPredictors, DISCRETE, FORGOTTEN, FULL, firstPlan, MEASURING, RIDGE, TASK, tuningParameters, tuningPlan } from "./fixed-weights.ts"; // biome-ignore format: one line
import { type ArmFit, AS_GOOD, judge, KEPT, type PromotSeed, type TuningArm } from "./promot-claims.ts";

const WANG =
  "Wang et al. 2024, Preserving In-Context Learning ability in Large Language Model Fine-tuning (ProMoT: Two-stage LLM fine-tuning with less specialization and more generalization)";

const parameters = tuningParameters.extend({
  vectors: z.int().min(1).max(256).default(8).describe("vectors of the soft prompt"),
  prompt_steps: z.int().min(20).default(400).describe("optimiser steps in which the prompt alone is trained"),
  prompt_rate: z.number().positive().default(1e-2).describe("learning rate of the prompt alone"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const claims: readonly ClaimStatement[] = [
  {
    id: "specialises",
    statement: "Plain fine-tuning on one task makes the model answer prompts of another as if they were of its own: format specialisation.",
    source: `${WANG}, section 3`,
    check:
      `From the second x on, plain fine-tuning on fixed weights raises the squared error on fresh ones by at least ${FORGOTTEN} of the mean of y², and there the model's ` +
      `distance from dMMSE falls as a share of its distances from both predictors, ${QUORUM_WORDS}.`,
  },
  {
    id: "keeps",
    statement: "With a soft prompt trained first, then the weights under it, and the prompt taken off, more of the ability on the other task is kept.",
    source: `${WANG}, section 5`,
    check:
      `The error on fresh weights, without the prompt, rises by at most ${KEPT} of what plain fine-tuning adds, ${QUORUM_WORDS}. A seed in which plain fine-tuning adds less than ` +
      `${FORGOTTEN} cannot say.`,
  },
  {
    id: "learns",
    statement: "The model with its prompt does the task that it was tuned on as well as a plainly tuned one.",
    source: `${WANG}, section 5`,
    check: `The error on fixed weights, with the prompt, is at most ${AS_GOOD} of the mean of y² above that of plain fine-tuning, ${QUORUM_WORDS}.`,
  },
  {
    id: "prompt-first",
    statement: "It takes the first stage: under random vectors that were never trained, weights specialise more.",
    source: `${WANG}, ablations`,
    check:
      `Without the vectors, the error on fresh weights rises more after fine-tuning under random ones than under the trained prompt, ${QUORUM_WORDS}. A seed in which plain fine-tuning adds less ` +
      `than ${FORGOTTEN} cannot say.`,
  },
]; // biome-ignore format: sentences

const pair = z.object({ fixed: comparisonValues, fresh: comparisonValues });
const armValues = z.object({
  /** With the soft prompt, where the model has one. */
  prompted: pair.optional(),
  /** Without it. */
  bare: pair,
});

/** Trainings from the first one's checkpoint on, by arm; `promot` begins with the arm `prompt`. @param from absent only where plans are checked */
function armPlan(arm: TuningArm, params: Params, seed: number, from?: string): TrainingPlan {
  const plan = tuningPlan(params, seed, from);
  const label = `${arm} of seed ${seed}`;
  if (arm === "plain") return { ...plan, label };
  const { vectors: soft_prompt, prompt_steps: steps, prompt_rate: learning_rate } = params;
  const changes = {
    prompt: { steps, learning_rate, train_only: ["soft_prompt"] },
    promot: { freeze: ["soft_prompt"] },
    random: { freeze: ["soft_prompt"] },
    joint: {},
  }[arm];
  return { ...plan, params: { ...plan.params, soft_prompt, ...changes }, label };
} // biome-ignore format: one line

const ARMS: readonly TuningArm[] = ["plain", "prompt", "promot", "random", "joint"];

const measuredLabel = (seed: number): string => `predictors beside seed ${seed}`;

/** Compares a model with and without its prompt with the predictors, on prompts that are the same for all arms. */
function fitPlan(run: TrainedRun, { rows }: Params): MeasurementPlan<typeof armValues> {
  const { seed, taskParams } = run;
  return {
    name: "predictors",
    label: measuredLabel(seed),
    model: lastCheckpoint(run),
    settings: { taskParams, seed, rows, revision: 1 },
    values: armValues,
    async measure(model) {
      const world = worldOf(TASK, run);
      const predictors = bestPredictors(run);
      const power = powerOf(world, "in-context");
      const [fixed, fresh] = ["discrete", "continuous"].map((split, i) => evaluationPrompts(world, split, rows, i));
      const compared = async (own: Model) => ({
        fixed: await comparePredictions(own, fixed!, predictors, { power }),
        fresh: await comparePredictions(own, fresh!, predictors, { power }),
      });
      if (model.config.soft_prompt === undefined) return { bare: await compared(model) };
      return { prompted: await compared(model), bare: await compared(withoutSoftPrompt(model)) };
    },
  };
}

/** Trains and measures all arms of a first run. */
async function armsOf(first: TrainedRun, params: Params, context: ExperimentContext): Promise<PromotSeed> {
  const { seed } = first;
  const train = async (arm: TuningArm, from: TrainedRun) =>
    (await context.train(armPlan(arm, params, seed, lastCheckpoint(from)), [seed]))[0]!;
  const plain = await train("plain", first);
  const prompt = await train("prompt", first);
  const promot = await train("promot", prompt);
  const random = await train("random", first);
  const joint = await train("joint", first);
  const runs = [first, plain, prompt, promot, random, joint];
  const fits = await context.measure(runs.map((run) => fitPlan(run, params)));
  const [before, ...arms] = fits as [ArmFit, ...ArmFit[]];
  return { before, ...(Object.fromEntries(ARMS.map((arm, i) => [arm, arms[i]!])) as Record<TuningArm, ArmFit>) };
}

type Along = (seed: PromotSeed) => readonly number[];

/** Lines of the arms on prompts of one kind. */
const FRESH: Readonly<Record<string, Along>> = {
  "before fine-tuning": ({ before }) => before.bare.fresh.model,
  "plain fine-tuning": ({ plain }) => plain.bare.fresh.model,
  "ProMoT, prompt taken off": ({ promot }) => promot.bare.fresh.model,
  "random vectors, taken off": ({ random }) => random.bare.fresh.model,
  "prompt and weights together, prompt taken off": ({ joint }) => joint.bare.fresh.model,
};
const FIXED: Readonly<Record<string, Along>> = {
  "before fine-tuning": ({ before }) => before.bare.fixed.model,
  "plain fine-tuning": ({ plain }) => plain.bare.fixed.model,
  "prompt alone": ({ prompt }) => prompt.prompted!.fixed.model,
  "ProMoT, with its prompt": ({ promot }) => promot.prompted!.fixed.model,
  "ProMoT, prompt taken off": ({ promot }) => promot.bare.fixed.model,
};

/** Errors by pairs seen, on prompts of fixed or of fresh weights. */
function errorFigure(kind: "fixed" | "fresh", seeds: readonly PromotSeed[]): LineFigure {
  const lines = kind === "fresh" ? FRESH : FIXED;
  const along = (of: Along) => seeds.map(of);
  return {
    kind: "lines",
    name: kind,
    title: `Squared error on prompts of ${kind} weights`,
    caption: `${meanCaption(seeds.length)} ${kind === "fixed" ? "dMMSE" : "Ridge regression"} is the best there is (ceiling).`,
    x: { title: "pairs seen", whole: true },
    y: { title: "squared error / mean of y²", range: [0, 1.5] },
    lines: errorLines(
      Object.fromEntries(Object.entries(lines).map(([name, of]) => [name, along(of)])),
      Object.fromEntries([RIDGE, DISCRETE].map((name) => [name, along(({ before }) => before.bare[kind].errors[name]!)])),
    ),
  };
} // biome-ignore format: a line of the figure a line

/** The share of the distance from ridge regression in the model's answers to prompts of fresh weights, by pairs seen. */
function formatFigure(seeds: readonly PromotSeed[]): LineFigure {
  const share = (of: (seed: PromotSeed) => ArmFit) => (seed: PromotSeed) => {
    const { distances } = of(seed).bare.fresh;
    return distances[RIDGE]!.map((ridge, i) => ridge / (ridge + distances[DISCRETE]![i]!));
  };
  const arms: Readonly<Record<string, Along>> = {
    "before fine-tuning": share(({ before }) => before),
    "plain fine-tuning": share(({ plain }) => plain),
    "ProMoT, prompt taken off": share(({ promot }) => promot),
    "random vectors, taken off": share(({ random }) => random),
    "prompt and weights together, prompt taken off": share(({ joint }) => joint),
  };
  const lines = Object.entries(arms).map(([name, of]) => meanLine(name, seeds.map((seed) => overPairs(of(seed)))));
  return {
    kind: "lines",
    name: "specialisation",
    title: "Specialisation on prompts of fresh weights",
    caption: `Distance from ridge regression over the distances from ridge regression and from dMMSE: 0 is the one, 1 the other. ${meanCaption(seeds.length)}`,
    x: { title: "pairs seen", whole: true },
    y: { title: "share of the distance", range: [0, 1] },
    lines,
  };
} // biome-ignore format: a line of the figure a line

/** Fine-tuning that puts the task's format into a soft prompt first. */
export const promot: Experiment<typeof parameters> = {
  name: "promot",
  title: "Keeping in-context ability in fine-tuning (ProMoT)",
  description:
    "Transformers learn linear functions of a few fixed weights and of fresh ones in context, and are fine-tuned on the fixed ones: plainly, or a soft prompt first, then the weights " +
    "under it, whereupon the prompt is taken off. Controls are weights under vectors that were never trained, and prompt and weights together.",
  source: WANG,
  trials:
    "No trial was made: sizes, rates and steps are those of forgetting. Thresholds were written before any " +
    "training, and none was changed.",
  parameters,
  presets: { quick: {}, full: { ...FULL, vectors: 16, prompt_steps: 2000 } },
  claims,
  stages: (params) => [
    trainingStage(firstPlan(params), params.seeds),
    ...params.seeds.flatMap((seed) => [
      ...ARMS.map((arm) => trainingStage(armPlan(arm, params, seed), [seed])),
      { label: measuredLabel(seed), work: 6 * MEASURING },
    ]),
  ],
  async run(params, context) {
    const { seeds } = params;
    context.check(firstPlan(params), seeds);
    for (const arm of ARMS) context.check(armPlan(arm, params, seeds[0]!), [seeds[0]!]);
    const all: PromotSeed[] = [];
    for (const first of await context.train(firstPlan(params), seeds)) all.push(await armsOf(first, params, context));
    return { claims: judge(all), figures: [errorFigure("fresh", all), errorFigure("fixed", all), formatFigure(all)] };
  },
}; // biome-ignore format: a line a step
