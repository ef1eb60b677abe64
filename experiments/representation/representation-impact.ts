import { z } from "zod";
import { rowProbe } from "../../backend/circuits/vectors/row-probe.ts";
import type { ProbedLayer } from "../../backend/common/api/linear-probes.ts";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { Random } from "../../backend/common/random.ts";
import type { Model } from "../../backend/models/model.ts";
import { referenceLevels } from "../../backend/training/evaluations.ts";
import { makeSpec } from "../../backend/training/spec.ts";
import { eachItemLast, factorValue, hiddenFactor } from "../../synthetic-tasks/factors/hidden-factor.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import { taskProbe } from "../../synthetic-tasks/task-probe.ts";
import { type Experiment, type ExperimentContext, lastCheckpoint, type MeasurementPlan, seedList, type TrainedRun, type TrainingPlan } from "../base.ts"; // biome-ignore format: one line
import { type Curve, levelLine, mean, meanCaption, meanLine } from "../curves.ts";
import { trainingStage } from "../progress.ts";
import {
  ARMS,
  type Arm,
  type ArmResult,
  type Chances,
  type Components,
  componentCurve,
  componentValues,
  judge,
  type LayerScore,
  type RepresentationSeed,
  representationClaims,
} from "./judge.ts";

const TASK = hiddenFactor.name;
/** Stream of a seed that no batch of the training is drawn from. */
const STREAM = 0xe0000000;
/** Work of the probes of one saved step, in optimiser steps of one layer. */
const MEASURING = 60;
/** Fits to shuffled targets. */
const CONTROLS = 3;

const parameters = z.object({
  seeds: seedList
    .refine(({ length }) => length > 1, "give two seeds or more: a seed's other factors are those of the next one")
    .default([0, 1, 2, 3])
    .describe("seeds, each with items of its own"),
  steps: z.int().min(100).default(2000).describe("optimiser steps with a hidden factor"),
  told_steps: z.int().min(20).default(400).describe("optimiser steps before them in which the factor is told"),
  factors: z.int().min(2).default(3).describe("factors of an item"),
  values: z.int().min(2).default(4).describe("values of a factor"),
  examples: z.int().min(1).default(8).describe("labelled items of a sequence"),
  n_layers: z.int().min(1).default(2).describe("layers"),
  n_heads: z.int().min(1).default(2).describe("attention heads of a layer"),
  d_model: z.int().min(2).default(32).describe("width of the residual stream"),
  batch: z.int().min(1).default(64).describe("sequences of a step"),
  learning_rate: z.number().positive().default(6e-3).describe("Adam's learning rate"),
  saves: z.int().min(3).default(9).describe("evenly spaced steps at which a training is saved and probed, the first one 0"),
  rows: z.int().min(64).default(512).describe("sequences on which the deciding factor is probed for"),
  evaluation_rows: z.int().min(64).default(512).describe("sequences of each evaluation"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** The part of a plan that all trainings share. */
function shared(params: Params): Record<string, unknown> {
  const { factors, values, examples, n_layers, n_heads, d_model, batch, learning_rate, evaluation_rows } = params;
  const model = { n_layers, n_heads, d_model, attn_only: false, act_fn: "gelu" };
  const training = { batch, learning_rate, clip: 1, spacing: "linear", extra_checkpoints: 0, evaluation_rows };
  return { factors, values, examples, ...model, ...training };
}

const KNOWLEDGE = "the factor told";

/** The training that knows an item's factors: which one decides is told. */
function knowledgePlan(params: Params): TrainingPlan {
  return {
    task: TASK,
    params: { ...shared(params), told: 1, steps: params.told_steps, points: 5, checkpoints: 1 },
    label: KNOWLEDGE,
  };
}

const armLabel = (arm: Arm, seed: number): string => `from ${arm}, seed ${seed}`;

/** A training with the factor hidden. @param from absent for fresh weights, and where plans are checked */
function hiddenPlan(params: Params, label: string, from?: string): TrainingPlan {
  const { steps, saves } = params;
  const saved = { points: 2 * saves - 1, checkpoints: saves };
  return {
    task: TASK,
    params: { ...shared(params), told: 0, steps, ...saved, ...(from === undefined ? {} : { from }) },
    label,
  };
}

const measuringLabel = (seed: number): string => `probes of seed ${seed}`;

const scoreOf = ({ score, interval: [low], control = 0 }: ProbedLayer): LayerScore => ({ score, low, control });

/** Probes of a run as it was saved at a step. */
function probePlan(run: TrainedRun, step: number, { rows }: Params): MeasurementPlan<typeof componentValues> {
  const { seed, taskParams } = run;
  return {
    name: "components",
    label: measuringLabel(seed),
    model: `run:${run.id}@${step}`,
    settings: { taskParams, seed, rows, controls: CONTROLS, revision: 1 },
    values: componentValues,
    async measure(model, { signal }) {
      const trained = { task: tasks.get(TASK), params: taskParams, seed };
      const probe = { target: "rule", position: -1, rows, seed, controls: CONTROLS, signal };
      const { layers } = await taskProbe(model, trained, probe);
      return { weights: await inWeights(model, run, signal), context: layers.map(scoreOf) };
    },
  };
}

/**
 * Means over factors of probes for an item's value of each, the embedding first: every item is the last of one row, so that the rows which are
 * held out have items that no probe was fitted to.
 */
async function inWeights(model: Model, { seed, taskParams }: TrainedRun, signal: AbortSignal): Promise<LayerScore[]> {
  const params = tasks.parse(TASK, taskParams) as z.output<typeof hiddenFactor.parameters>;
  const world = hiddenFactor.world(params, seed);
  const { batch, items } = eachItemLast(world, params, new Random(seed, STREAM));
  const { positions } = hiddenFactor.shape(params);
  const byFactor: LayerScore[][] = [];
  for (let factor = 0; factor < params.factors; factor++) {
    const options = {
      rows: { rows: batch.rows, positions, inputs: batch.inputs! },
      places: items.map(() => positions - 1),
      targets: { kind: "classes", labels: items.map((item) => factorValue(world, params, item, factor)) },
      ...{ seed, controls: CONTROLS, signal },
    } as const;
    const embedding = await rowProbe(model, { ...options, layers: [0], at: "hook_resid_pre" });
    const behind = await rowProbe(model, options);
    byFactor.push([...embedding.layers, ...behind.layers].map(scoreOf));
  }
  const over = (layer: number, of: keyof LayerScore) => mean(byFactor.map((layers) => layers[layer]![of]));
  return byFactor[0]!.map((_, l) => ({ score: over(l, "score"), low: over(l, "low"), control: over(l, "control") }));
}

/** Trains and probes the three arms of a seed. @param knowledge runs that know this seed's items, and other ones */
async function armsOf(
  seed: number,
  knowledge: { readonly own: TrainedRun; readonly other: TrainedRun },
  params: Params,
  context: ExperimentContext,
): Promise<RepresentationSeed> {
  const begins = { "fresh weights": undefined, "the items' factors": knowledge.own, "other factors": knowledge.other };
  const runs: TrainedRun[] = [];
  for (const arm of ARMS) {
    const first = begins[arm];
    const plan = hiddenPlan(params, armLabel(arm, seed), first && lastCheckpoint(first));
    runs.push(...(await context.train(plan, [seed])));
  }
  const plans = runs.flatMap((run) => run.checkpoints.map((step) => probePlan(run, step, params)));
  const found = await context.measure(plans);
  const results = runs.map(({ checkpoints: steps, curves }): ArmResult => {
    const components = found.splice(0, steps.length);
    return { steps, components, accuracy: curves.get("hidden.accuracy")! };
  });
  const arms = Object.fromEntries(ARMS.map((arm, i) => [arm, results[i]!])) as Record<Arm, ArmResult>;
  const spec = makeSpec(tasks.get(TASK), hiddenPlan(params, "").params);
  const { bare, hidden } = referenceLevels(tasks.get(TASK), spec, seed);
  return { ...arms, bayes: { bare: bare!.accuracy!, hidden: hidden!.accuracy! } };
}

/** Accuracy with a hidden factor over training, by the weights that it begins with. */
function accuracyFigure(seeds: readonly RepresentationSeed[], chance: number): LineFigure {
  const { steps } = seeds[0]!["fresh weights"].accuracy;
  return {
    kind: "lines",
    name: "accuracy",
    title: "Labels by a hidden factor, by the weights that training begins with",
    caption: `${meanCaption(seeds.length)} Bayes' predictor knows all items' factors.`,
    x: { title: "training step" },
    y: { title: "accuracy", range: [0, 1] },
    lines: [
      ...ARMS.map((arm) => meanLine(arm, seeds.map((seed) => seed[arm].accuracy))),
      levelLine("guessing (chance)", steps, chance),
      levelLine("Bayes without labels", steps, mean(seeds.map(({ bayes }) => bayes.bare))),
      levelLine("Bayes (ceiling)", steps, mean(seeds.map(({ bayes }) => bayes.hidden))),
    ],
  };
} // biome-ignore format: a line of the figure a line

const NAMES = { weights: "in-weights", context: "in-context" } as const satisfies Record<keyof Components, string>;
const READ = { weights: "an item's factors", context: "the factor that decides" } as const;

/** A component over training at its best layer. */
function componentFigure(seeds: readonly RepresentationSeed[], component: keyof Components, chance: number): LineFigure {
  const { steps } = seeds[0]!["fresh weights"];
  return {
    kind: "lines",
    name: `${NAMES[component]}-component`,
    title: `The ${NAMES[component]} component: probes for ${READ[component]}`,
    caption: `At the best layer. ${meanCaption(seeds.length)}`,
    x: { title: "training step" },
    y: { title: "held-out accuracy", range: [0, 1] },
    lines: [
      ...ARMS.map((arm) => meanLine(arm, seeds.map((seed) => componentCurve(seed[arm], component)))),
      levelLine("guessing (chance)", steps, chance),
      levelLine("reading all (ceiling)", steps, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line

/** Both components by layer at the end of the training from fresh weights. */
function layerFigure(seeds: readonly RepresentationSeed[], chance: Chances): LineFigure {
  const ends = seeds.map((seed) => seed["fresh weights"].components.at(-1)!);
  const { length } = ends[0]!.weights;
  const layers = Array.from({ length }, (_, layer) => layer);
  const line = (name: string, component: keyof Components, of: "score" | "control") => {
    const own = component === "weights" ? layers : layers.slice(1);
    const curves = ends.map((end): Curve => ({ steps: own, values: end[component].map((each) => each[of]) }));
    return { ...meanLine(name, curves), ...(of === "control" ? { dashed: true } : { points: true }) };
  };
  return {
    kind: "lines",
    name: "layers",
    title: "Both components by layer, from fresh weights at the end",
    caption: `0 is the embedding. ${meanCaption(seeds.length)}`,
    x: { title: "layer", whole: true },
    y: { title: "held-out accuracy", range: [0, 1] },
    lines: [
      line("in-weights", "weights", "score"),
      line("in-context", "context", "score"),
      line("in-weights, shuffled (control)", "weights", "control"),
      line("in-context, shuffled (control)", "context", "control"),
      levelLine("guessing a factor's value (chance)", layers, chance.weights),
      levelLine("guessing the deciding factor (chance)", layers, chance.context),
      levelLine("reading all (ceiling)", layers, 1),
    ],
  };
}

/** Fu et al.'s two components of a representation, and their bearing on in-context learning. */
export const representationImpact: Experiment<typeof parameters> = {
  name: "representation-impact",
  title: "How representation impacts in-context learning",
  description:
    "Items have several factors, which the weights must learn; a hidden one of them gives the labels of a sequence, which the examples must tell. Linear probes follow the in-weights " +
    "component (an item's factors) and the in-context component (the deciding factor) over layers and training, from fresh weights, from weights that " +
    "know the items' factors, and from weights that know those of other items.",
  source: "Fu et al. 2023, How does representation impact in-context learning: An exploration on a synthetic task",
  trials:
    "A first form of the task was not learned in 1,600 steps and given up for one with the label beside its item. " +
    "Of three single trainings (seed 10) in this form the third was taken, with 2,000 steps. Thresholds were " +
    "written after that and before any training from known factors, and nothing was changed after the run.",
  parameters,
  presets: {
    quick: {},
    full: {
      ...{ steps: 20_000, told_steps: 4000, factors: 4, values: 5, examples: 16, n_layers: 4, n_heads: 4, d_model: 64 },
      ...{ batch: 128, learning_rate: 1e-3, saves: 17, rows: 1024, evaluation_rows: 1024 },
    },
  },
  claims: representationClaims,
  stages: (params) => [
    trainingStage(knowledgePlan(params), params.seeds),
    ...params.seeds.flatMap((seed) => [
      ...ARMS.map((arm) => trainingStage(hiddenPlan(params, armLabel(arm, seed)), [seed])),
      { label: measuringLabel(seed), work: MEASURING * ARMS.length * params.saves },
    ]),
  ],
  async run(params, context) {
    const { seeds } = params;
    context.check(knowledgePlan(params), seeds);
    context.check(hiddenPlan(params, ""), seeds);
    const known = await context.train(knowledgePlan(params), seeds);
    const all: RepresentationSeed[] = [];
    for (const [s, own] of known.entries())
      all.push(await armsOf(own.seed, { own, other: known[(s + 1) % known.length]! }, params, context));
    const chance = { weights: 1 / params.values, context: 1 / params.factors };
    return {
      claims: judge(all, chance),
      figures: [
        accuracyFigure(all, chance.weights),
        componentFigure(all, "weights", chance.weights),
        componentFigure(all, "context", chance.context),
        layerFigure(all, chance),
      ],
    };
  },
};
