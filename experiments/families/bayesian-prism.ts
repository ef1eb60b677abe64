import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { evenMixture } from "../../synthetic-tasks/families/family.ts";
import { MixturePosterior } from "../../synthetic-tasks/families/posterior.ts";
import { type ClaimResult, type ClaimStatement, type Experiment, lastCheckpoint, type MeasurementPlan, seedList, type TrainedRun, type TrainingPlan } from "../base.ts"; // biome-ignore format: one line
import { type Curve, crossing, levelLine, mean, meanCaption, meanLine } from "../curves.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";
import { afterFirst, type Comparison, comparePredictions, comparisonValues, errorLines, evaluationPrompts, knowing, lastThird, powerOf, worldOf } from "./compare.ts"; // biome-ignore format: one line
import { learnedSpectrum, type Spectrum, spectrumValues } from "./spectrum.ts";

const AHUJA = "Ahuja et al. 2024, In-Context Learning through the Bayesian Prism";

/** The mixtures, each a task. */
const MIXTURES = {
  "gaussian-weights": "two Gaussians over the weights",
  monomials: "sets of monomials",
  "fourier-series": "Fourier series of several degrees",
} as const;
type MixtureName = keyof typeof MIXTURES;
const NAMES = Object.keys(MIXTURES) as MixtureName[];

/** Largest distance of a model from Bayes' predictor, over the mean of y², at which it is called that predictor. */
const NEAR = 0.1;
/** Share of a frequency from which it is there. */
const THERE = 0.5;
/** Least factor of a model's error beyond the mixture over that of the predictor that knows the family. */
const FAILS = 2;
/** Work of comparing one model, in optimiser steps of one layer. */
const MEASURING = 60;

const BAYES = "Bayes' predictor for the mixture";
const OWN = "Bayes' predictor that knows the family";

const parameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds, trained together"),
  steps: z.int().min(100).default(2000).describe("optimiser steps of every model"),
  dimension: z.int().min(2).default(3).describe("numbers of an x, of linear functions and monomials"),
  degree: z.int().min(2).default(3).describe("highest frequency of the Fourier series"),
  examples: z.int().min(4).default(12).describe("pairs x, y of a sequence; the last y is only predicted"),
  sigma: z.number().positive().default(0.3).describe("standard deviation of the noise of y"),
  n_layers: z.int().min(1).default(3).describe("layers"),
  n_heads: z.int().min(1).default(2).describe("attention heads of a layer"),
  d_model: z.int().min(2).default(32).describe("width of the residual stream"),
  batch: z.int().min(1).default(32).describe("sequences of a step"),
  learning_rate: z.number().positive().default(4e-3).describe("Adam's largest learning rate"),
  rows: z.int().min(32).default(256).describe("prompts on which models and predictors are compared"),
  contexts: z.int().min(8).default(32).describe("contexts in which the frequencies that are learned are read"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const claims: readonly ClaimStatement[] = [
  ...NAMES.map((name) => ({
    id: `bayes-${name}`,
    statement: `A model that learns functions of a mixture predicts by all families, weighted by their posterior: ${MIXTURES[name]}.`,
    source: `${AHUJA}, sections on mixtures and multiple function classes`,
    check:
      "The mean squared difference between the model and the posterior-weighted predictor, from the second x on, is at most " +
      `${NEAR} of the mean of y², ${QUORUM_WORDS}.`,
  })),
  {
    id: "weighted",
    statement: "It weighs the families: no single family's posterior mean is as close to it.",
    source: AHUJA,
    check:
      "In every mixture the model is closer to the posterior-weighted predictor than to the posterior mean of each single family used " +
      `for all prompts, ${QUORUM_WORDS}.`,
  },
  {
    id: "low-first",
    statement: "Of Fourier series the model learns low frequencies from fewer pairs than high ones: a simplicity bias.",
    source: `${AHUJA}, simplicity bias`,
    check:
      `In contexts of the highest degree, the number of pairs at which ${THERE} of a frequency is there (the projection of the predicted function on the ` +
      "true one) never falls from one frequency to the next, and is larger at the highest than at the lowest; a frequency that is never there comes " +
      `last, ${QUORUM_WORDS}. A seed where the lowest is never there cannot say.`,
  },
  {
    id: "no-mass",
    statement: "On functions to which the mixture gives no mass a model fails, as the posterior-weighted predictor does.",
    source: AHUJA,
    check:
      `Over the last third of the pairs its error is at least ${FAILS} times that of the predictor that knows the new family, and it is closer to the predictor for ` +
      `the mixture of training than to that one, in every mixture where it is near Bayes' predictor by the first checks, ${QUORUM_WORDS}. A seed without such a mixture cannot say.`,
  },
]; // biome-ignore format: sentences

/** One seed's model of one mixture: on prompts as in training, and on functions beyond. */
export interface MixtureFit {
  readonly inside: Comparison;
  readonly beyond: Comparison;
}

/** One seed: its models by mixture, and the frequencies that the one of Fourier series learns. */
export interface PrismSeed {
  readonly fits: Readonly<Record<MixtureName, MixtureFit>>;
  readonly spectrum: Spectrum;
}

/** Pairs at which a frequency is there; infinitely many where it never is. @param shares [pairs] */
function pairsUntil(pairs: readonly number[], shares: readonly number[]): number {
  return crossing({ steps: pairs, values: shares }, THERE) ?? Number.POSITIVE_INFINITY;
}

const distance = ({ distances }: Comparison, name: string): number => afterFirst(distances[name]!);
const isNear = ({ inside }: MixtureFit): boolean => distance(inside, BAYES) <= NEAR;

/** Distance of the nearest single family. */
function nearestSingle({ inside }: MixtureFit): number {
  const single = Object.keys(inside.distances).filter((name) => name !== BAYES && name !== OWN);
  return Math.min(...single.map((name) => distance(inside, name)));
}

function fails({ beyond }: MixtureFit): boolean {
  const { model, errors, distances } = beyond;
  return (
    lastThird(model) >= FAILS * lastThird(errors[OWN]!) && lastThird(distances[BAYES]!) < lastThird(distances[OWN]!)
  );
}

/** Decides the claims. @param seeds one each */
export function judge(seeds: readonly PrismSeed[]): ClaimResult[] {
  const each = (name: MixtureName) => seeds.map(({ fits }) => fits[name]);
  const along = (of: (fit: MixtureFit) => number) => (name: MixtureName) => mean(each(name).map(of));
  const table = (what: string, of: (name: MixtureName) => number | string) =>
    Object.fromEntries(NAMES.map((name) => [`${what}, ${name}`, of(name)]));
  const orders = seeds.map(({ spectrum: { pairs, model } }) => model.map((shares) => pairsUntil(pairs, shares)));
  const inOrder = (order: readonly number[]) =>
    Number.isFinite(order[0]) ? order.every((at, f) => f === 0 || at >= order[f - 1]!) && order.at(-1)! > order[0]! : undefined;
  const failing = ({ fits }: PrismSeed) => {
    const near = NAMES.map((name) => fits[name]).filter(isNear);
    return near.length > 0 ? near.every(fails) : undefined;
  };
  return [
    ...NAMES.map((name) => ({
      id: `bayes-${name}`,
      measured: {
        "distance from the weighted predictor, mean": along(({ inside }) => distance(inside, BAYES))(name),
        "error of the model, mean": along(({ inside }) => afterFirst(inside.model))(name),
        "error of the weighted predictor, mean": along(({ inside }) => afterFirst(inside.errors[BAYES]!))(name),
      },
      ...vote(each(name).map(isNear), "the model is near the weighted predictor", ""),
    })),
    {
      id: "weighted",
      measured: {
        ...table("distance from the weighted predictor", along(({ inside }) => distance(inside, BAYES))),
        ...table("distance from the nearest single family", along(nearestSingle)),
      },
      ...vote(
        seeds.map(({ fits }) => NAMES.every((name) => distance(fits[name].inside, BAYES) < nearestSingle(fits[name]))),
        "the weighted predictor is the closest",
        "",
      ),
    },
    {
      id: "low-first",
      measured: Object.fromEntries(
        orders[0]!.map((_, f) => [`pairs until frequency ${f + 1} is there, by seed`, orders.map((order) => Number.isFinite(order[f]) ? order[f]!.toFixed(1) : "–").join(", ")]),
      ),
      ...vote(orders.map(inOrder), "low frequencies come first", "not even the lowest frequency is learned"),
    },
    {
      id: "no-mass",
      measured: {
        ...table("error of the model beyond", along(({ beyond }) => lastThird(beyond.model))),
        ...table("error of the predictor that knows the family", along(({ beyond }) => lastThird(beyond.errors[OWN]!))),
        ...table("seeds near Bayes' predictor", (name) => each(name).filter(isNear).length),
      },
      ...vote(seeds.map(failing), "the models fail as the weighted predictor does", "no model is near Bayes' predictor"),
    },
  ];
} // biome-ignore format: a claim a block

function planOf(name: MixtureName, params: Params): TrainingPlan {
  const { dimension, degree, examples, sigma, steps, batch, learning_rate, n_layers, n_heads, d_model } = params;
  const functions = name === "fourier-series" ? { degree } : { dimension };
  const training = { steps, batch, learning_rate, optimiser: "adam", schedule: "cosine", warmup: 100, clip: 1, points: 10, checkpoints: 2 };
  return {
    task: name,
    params: { ...functions, examples, sigma, n_layers, n_heads, d_model, attn_only: false, ...training },
    label: MIXTURES[name],
  };
} // biome-ignore format: one line

const measuredLabel = (name: MixtureName): string => `predictors beside ${MIXTURES[name]}`;
const SPECTRUM = "frequencies";

/** Compares a run's model on prompts of its mixture, and beyond it. */
function fitPlan(name: MixtureName, run: TrainedRun, rows: number): MeasurementPlan<typeof fitValues> {
  const { seed, taskParams } = run;
  return {
    name: "predictors",
    label: measuredLabel(name),
    model: lastCheckpoint(run),
    settings: { task: name, taskParams, seed, rows, revision: 1 },
    values: fitValues,
    async measure(model) {
      const world = worldOf(name, run);
      const { training } = world.mixtures;
      const beyond = world.mixtures["beyond"]!;
      const bayes = { [BAYES]: () => new MixturePosterior(training) };
      const single = training.map(({ family }) => [family.name, () => new MixturePosterior(evenMixture([family]))] as const);
      const [own, other] = ["in-context", "beyond"].map((split) => evaluationPrompts(world, split, rows)) as [Prompts, Prompts];
      return {
        inside: await comparePredictions(model, own, { ...bayes, [OWN]: knowing(training, own), ...Object.fromEntries(single) }, { power: powerOf(world, "in-context") }),
        beyond: await comparePredictions(model, other, { ...bayes, [OWN]: knowing(beyond, other) }, { power: powerOf(world, "beyond") }),
      };
    },
  };
} // biome-ignore format: a line a step

const fitValues = z.object({ inside: comparisonValues, beyond: comparisonValues });
type Prompts = ReturnType<typeof evaluationPrompts>;

function spectrumPlan(run: TrainedRun, contexts: number): MeasurementPlan<typeof spectrumValues> {
  const { seed, taskParams } = run;
  return {
    name: "spectrum",
    label: SPECTRUM,
    model: lastCheckpoint(run),
    settings: { taskParams, seed, contexts, revision: 1 },
    values: spectrumValues,
    measure: (model) => learnedSpectrum(model, worldOf("fourier-series", run), contexts),
  };
}

/** Errors by pairs seen, between Bayes' and chance, on one mixture's prompts or beyond it. */
function errorFigure(name: MixtureName, split: keyof MixtureFit, seeds: readonly PrismSeed[]): LineFigure {
  const each = seeds.map(({ fits }) => fits[name][split]);
  const predictors = split === "inside" ? [BAYES] : [BAYES, OWN];
  const titles = { inside: "on functions of the mixture", beyond: "on functions beyond it" };
  return {
    kind: "lines",
    name: `${name}-${split}`,
    title: `Squared error ${titles[split]}: ${MIXTURES[name]}`,
    caption: `${meanCaption(seeds.length)} ${split === "inside" ? "No prediction is better than Bayes' (ceiling)." : "The ceiling is the predictor that knows the family."}`,
    x: { title: "pairs seen", whole: true },
    y: { title: "squared error / mean of y²", range: [0, split === "inside" ? 1.2 : 2] },
    lines: errorLines(
      { model: each.map(({ model }) => model) },
      Object.fromEntries(predictors.map((predictor) => [predictor, each.map(({ errors }) => errors[predictor]!)])),
    ),
  };
} // biome-ignore format: a line of the figure a line

/** Shares of each frequency by pairs seen, of models and of Bayes' predictor. */
function spectrumFigure(seeds: readonly Spectrum[]): LineFigure {
  const { pairs, model } = seeds[0]!;
  const line = (name: string, of: (seed: Spectrum) => readonly number[]) =>
    meanLine(name, seeds.map((seed): Curve => ({ steps: pairs, values: of(seed) })));
  return {
    kind: "lines",
    name: "spectrum",
    title: "Frequencies of a Fourier series that are there, by pairs seen",
    caption: `Projection of the predicted function on the true one of the highest degree. ${meanCaption(seeds.length)} Dashed: Bayes' predictor for the mixture.`,
    x: { title: "pairs seen", whole: true },
    y: { title: "share of the frequency", range: [-0.2, 1.1] },
    lines: [
      ...model.map((_, f) => line(`frequency ${f + 1}`, (seed) => seed.model[f]!)),
      ...model.map((_, f) => {
        const { band: __, ...rest } = line(`frequency ${f + 1}, Bayes' predictor`, (seed) => seed.bayes[f]!);
        return { ...rest, dashed: true };
      }),
      levelLine("none of it (chance)", pairs, 0),
      levelLine("all of it (ceiling)", pairs, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line

/** Models of mixtures of function families beside the exact posterior-weighted predictor. */
export const bayesianPrism: Experiment<typeof parameters> = {
  name: "bayesian-prism",
  title: "In-context learning through the Bayesian prism",
  description:
    "Transformers learn functions of three mixtures in context: linear ones of two Gaussians, sums of monomials of one of several sets, Fourier series of several " +
    "degrees. Their predictions are compared with the exact predictor that weighs every family's posterior mean by its evidence, on functions that the mixture holds and on " +
    "others, and the frequencies that they learn from few pairs are read.",
  source: AHUJA,
  trials:
    "No trial was made: sizes are those of learning-algorithm's smaller models. Steps and batch were set for the " +
    "time; the batch was halved before any run had been looked at. Thresholds were written before any training.",
  parameters,
  presets: {
    quick: {},
    full: {
      ...{ steps: 20_000, dimension: 8, degree: 8, examples: 40, n_layers: 8, n_heads: 4, d_model: 128 },
      ...{ learning_rate: 1e-3, rows: 1024, contexts: 128 },
    },
  },
  claims,
  stages: (params) => [
    ...NAMES.flatMap((name) => [
      trainingStage(planOf(name, params), params.seeds),
      { label: measuredLabel(name), work: MEASURING * params.seeds.length },
    ]),
    { label: SPECTRUM, work: MEASURING * params.seeds.length },
  ],
  async run(params, context) {
    const { seeds, rows, contexts } = params;
    for (const name of NAMES) context.check(planOf(name, params), seeds);
    const fits = {} as Record<MixtureName, MixtureFit[]>;
    let spectra: Spectrum[] = [];
    for (const name of NAMES) {
      const runs = await context.train(planOf(name, params), seeds);
      fits[name] = await context.measure(runs.map((run) => fitPlan(name, run, rows)));
      if (name === "fourier-series") spectra = await context.measure(runs.map((run) => spectrumPlan(run, contexts)));
    }
    const all = seeds.map((_, s): PrismSeed => ({
      fits: Object.fromEntries(NAMES.map((name) => [name, fits[name][s]!])) as PrismSeed["fits"],
      spectrum: spectra[s]!,
    }));
    return {
      claims: judge(all),
      figures: [
        ...NAMES.flatMap((name) => (["inside", "beyond"] as const).map((split) => errorFigure(name, split, all))),
        spectrumFigure(spectra),
      ],
    };
  },
}; // biome-ignore format: a line a step
