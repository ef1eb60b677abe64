import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { logSoftmax } from "../../backend/common/numerics/softmax.ts";
import { Random } from "../../backend/common/random.ts";
import type { Model } from "../../backend/models/model.ts";
import { rowOf } from "../../backend/training/task.ts";
import { averageModels, type HiddenMarkovModels } from "../../synthetic-tasks/hmm-mixture.ts";
import { type Batch, tasks } from "../../synthetic-tasks/index.ts";
import {
  type ClaimResult,
  type ClaimStatement,
  type Experiment,
  type ExperimentContext,
  seedList,
  type TrainedRun,
} from "../base.ts";
import { type Curve, mean, meanCaption, meanLine } from "../curves.ts";
import { outputsOf } from "../predictions.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";

const TASK = "hmm-mixture";
const ZHANG = "Zhang et al. 2023, What and How does In-Context Learning Learn?";
const XIE = "Xie et al. 2022, An Explanation of In-context Learning as Implicit Bayesian Inference";

/** Stream of a seed that no batch of the training is drawn from. */
const STREAM = 0xe2000000;
/** Distance of the seed of concepts that a run never saw. */
const FOREIGN = 1_000_000;
/** Work of measuring at a checkpoint, in optimiser steps of one layer. */
const MEASURING = 20;
/** Largest share of the divergence at the start that may be left. */
const LEFT = 0.1;
/** Prompt lengths from which the regret's power is fitted: behind the first tokens the concepts are hardly told apart yet. */
const FIRST = 8;
/** Powers of T that count as about -1. */
const POWERS = [-1.35, -0.65] as const;

const parameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds, trained together, each with concepts of its own"),
  steps: z.int().min(100).default(1200).describe("optimiser steps"),
  checkpoints: z.int().min(3).max(64).default(10).describe("steps at which predictions are compared, log-spaced"),
  context: z.int().min(16).default(64).describe("tokens of a sequence"),
  concepts: z.int().min(2).default(8).describe("hidden Markov models of the mixture"),
  vocabulary: z.int().min(4).default(16).describe("token ids"),
  states: z.int().min(1).default(4).describe("hidden states of a concept"),
  n_layers: z.int().min(1).default(2).describe("layers"),
  d_model: z.int().min(8).default(64).describe("width of the residual stream"),
  batch: z.int().min(1).default(64).describe("sequences of a step"),
  learning_rate: z.number().positive().default(2e-3).describe("Adam's learning rate"),
  rows: z.int().min(32).default(256).describe("sequences on which predictions are compared"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const claims: readonly ClaimStatement[] = [
  {
    id: "becomes-averaging",
    statement: "A trained model predicts as Bayesian model averaging does: its divergence from it falls with training.",
    source: `${ZHANG}; ${XIE}`,
    check:
      "The mean divergence KL(exact averaging || model) over positions and sequences of learned concepts ends at most at " +
      `${LEFT} of its first value, and is at no checkpoint more than a tenth above the one before, ${QUORUM_WORDS}.`,
  },
  {
    id: "regret-falls",
    statement:
      "The regret a token against the predictor that knows the concept falls about as 1/T with the prompt's length T.",
    source: ZHANG,
    check:
      `The straight line through log regret over log T, from T = ${FIRST} on, where the regret is the mean over the first T ` +
      "tokens of the model's loss above that of the sequence's own concept, has a slope from " +
      `${POWERS[0]} to ${POWERS[1]}, ${QUORUM_WORDS}. A seed whose regret is not above 0 everywhere cannot say.`,
  },
  {
    id: "prior-stays",
    statement: "On sequences of concepts that it never saw a model still averages over those that it learned.",
    source: `Expected of averaging over a learned prior (${XIE})`,
    check:
      "On such sequences KL(averaging over the learned concepts || final model) is less than half of what that averaging loses " +
      `against the sequences' own concept, ${QUORUM_WORDS}.`,
  },
];

/** Comparison of one seed's model with exact predictors. */
export interface Comparison {
  /** Mean KL(averaging || model) by checkpoint, nats a token. */
  readonly divergence: Curve;
  /** Mean loss above the known concept's over the first T tokens, nats a token, for T = 1 … context - 1: of the final model, and of exact averaging. */
  readonly regret: { readonly model: readonly number[]; readonly averaging: readonly number[] };
  /** On concepts never seen, nats a token: KL(averaging || model), and the loss of averaging above that of the own concept. */
  readonly fresh: { readonly model: number; readonly concept: number };
}

/** Decides the claims. @param seeds one each */
export function judge(seeds: readonly Comparison[]): ClaimResult[] {
  const falls = ({ divergence: { values } }: Comparison) =>
    values.at(-1)! <= LEFT * values[0]! && values.every((value, i) => i === 0 || value <= 1.1 * values[i - 1]!);
  const powers = seeds.map(({ regret }) => powerOf(regret.model));
  const exact = seeds.map(({ regret }) => powerOf(regret.averaging));
  const about = (power: number | undefined) => power === undefined ? undefined : power >= POWERS[0] && power <= POWERS[1];
  return [
    {
      id: "becomes-averaging",
      measured: {
        "divergence at the first checkpoint, mean, nats": mean(seeds.map((s) => s.divergence.values[0]!)),
        "divergence at the last, mean, nats": mean(seeds.map((s) => s.divergence.values.at(-1)!)),
        "largest share left": Math.max(...seeds.map(({ divergence: { values } }) => values.at(-1)! / values[0]!)),
      },
      ...vote(seeds.map(falls), "the divergence falls to a tenth, without a rise", ""),
    },
    {
      id: "regret-falls",
      measured: {
        "power of T, by seed": powers.map((power) => power?.toFixed(2) ?? "–").join(", "),
        "power of T of exact averaging, by seed": exact.map((power) => power?.toFixed(2) ?? "–").join(", "),
      },
      ...vote(powers.map(about), "the regret falls about as 1/T", "the regret is not above 0"),
    },
    {
      id: "prior-stays",
      measured: {
        "divergence of the model from averaging, mean, nats": mean(seeds.map((s) => s.fresh.model)),
        "loss of averaging above the sequences' own concept, mean, nats": mean(seeds.map((s) => s.fresh.concept)),
      },
      ...vote(seeds.map(({ fresh }) => fresh.model < 0.5 * fresh.concept), "the model stays with the learned concepts", ""),
    },
  ];
} // biome-ignore format: a table

/** Power p of a regret c T^p by least squares of logarithms from `FIRST` on; undefined where it is not positive. @param regret for T = 1, 2, … */
function powerOf(regret: readonly number[]): number | undefined {
  const used = regret.slice(FIRST - 1);
  if (used.some((value) => !(value > 0))) return undefined;
  const x = used.map((_, i) => Math.log(FIRST + i));
  const y = used.map(Math.log);
  const [mx, my] = [mean(x), mean(y)];
  const product = (a: readonly number[], ma: number, b: readonly number[], mb: number) =>
    a.reduce((sum, value, i) => sum + (value - ma) * (b[i]! - mb), 0);
  return product(x, mx, y, my) / product(x, mx, x, mx);
}

/** Predictions for a row's tokens from the second on. */
interface Foretold {
  /** Log-probabilities of every candidate by exact averaging and by the model [positions - 1, vocabulary]. */
  readonly averaged: Float64Array;
  readonly model: Float64Array;
  /** Log-probabilities of the tokens that came, by the concept that made them [positions - 1]. */
  readonly concept: Float64Array;
  /** The tokens that came [positions - 1]. */
  readonly tokens: Int32Array;
}

/** Predictions for every row of a batch. @param makers models whose concepts the rows follow @param logits [rows, positions, vocabulary] */
function foretell(
  learned: HiddenMarkovModels,
  makers: HiddenMarkovModels,
  batch: Batch,
  logits: Float32Array,
): Foretold[] {
  const { vocabulary } = learned;
  const length = batch.tokens!.length / batch.rows;
  return Array.from({ length: batch.rows }, (_, row) => {
    const tokens = rowOf(batch, row).tokens!;
    const start = row * length * vocabulary;
    const concept = batch.layout![row]!;
    return {
      averaged: averageModels(learned, tokens).averaged.subarray(vocabulary),
      model: logProbabilities(logits.subarray(start, start + (length - 1) * vocabulary), vocabulary),
      concept: averageModels(makers, tokens).byConcept.subarray(concept * length + 1, (concept + 1) * length),
      tokens: tokens.subarray(1),
    };
  });
}

/** Log-probabilities of every position. @param logits [positions, vocabulary] */
function logProbabilities(logits: Float32Array, vocabulary: number): Float64Array {
  const out = Float64Array.from(logits);
  for (let start = 0; start < out.length; start += vocabulary) {
    const row = out.subarray(start, start + vocabulary);
    row.set(logSoftmax(row));
  }
  return out;
}

/** Mean KL(averaging || model), nats a token. */
function divergenceOf(rows: readonly Foretold[]): number {
  const each = rows.map(({ averaged, model, tokens }) => {
    const sum = averaged.reduce((total, log, i) => total + Math.exp(log) * (log - model[i]!), 0);
    return sum / tokens.length;
  });
  return mean(each);
}

/** Mean loss above that of the concepts which made the rows, over the first T tokens, T = 1, 2, … */
function regretOf(rows: readonly Foretold[], predictor: "averaged" | "model"): number[] {
  const length = rows[0]!.tokens.length;
  const vocabulary = rows[0]!.model.length / length;
  let sum = 0;
  return Array.from({ length }, (_, t) => {
    sum += mean(rows.map((row) => row.concept[t]! - row[predictor][t * vocabulary + row.tokens[t]!]!));
    return sum / (t + 1);
  });
}

const byLength = z.array(z.number());
/** Schema of what is compared of the last model. */
const lastValues = z.object({
  regret: z.object({ model: byLength, averaging: byLength }),
  fresh: z.object({ model: z.number(), concept: z.number() }),
});

/** Compares a run with exact averaging at its checkpoints. */
async function compare(
  { id, seed, taskParams, checkpoints: steps }: TrainedRun,
  rows: number,
  { measure }: ExperimentContext,
): Promise<Comparison> {
  const task = tasks.get(TASK);
  const [world, foreign] = [0, FOREIGN].map((apart) => task.world(taskParams, seed + apart) as HiddenMarkovModels) as [
    HiddenMarkovModels,
    HiddenMarkovModels,
  ];
  /** Predictions on fresh sequences of the models' concepts. */
  const foretoldBy = async (model: Model, makers: HiddenMarkovModels): Promise<Foretold[]> => {
    const batch = task.sample(makers, taskParams, new Random(seed, STREAM), rows);
    return foretell(world, makers, batch, await outputsOf(model, batch));
  };
  const shared = { label: labelOf(seed), settings: { taskParams, seed, rows, revision: 1 } };
  const divergences = await measure(
    steps.map((step) => ({
      ...{ name: "divergence", model: `run:${id}@${step}`, values: z.number(), ...shared },
      measure: async (model) => divergenceOf(await foretoldBy(model, world)),
    })),
  );
  const [last] = await measure([
    {
      ...{ name: "regret and fresh concepts", model: `run:${id}@${steps.at(-1)}`, values: lastValues, ...shared },
      async measure(model) {
        const [own, beyond] = [await foretoldBy(model, world), await foretoldBy(model, foreign)];
        return {
          regret: { model: regretOf(own, "model"), averaging: regretOf(own, "averaged") },
          fresh: { model: divergenceOf(beyond), concept: regretOf(beyond, "averaged").at(-1)! },
        };
      },
    },
  ]);
  return { divergence: { steps, values: divergences }, ...last! };
}

const labelOf = (seed: number): string => `predictions of seed ${seed}`;

function planOf({ seeds: _, rows: __, ...params }: Params) {
  const model = { n_heads: 4, attn_only: false, act_fn: "gelu", positional_embedding_type: "rotary" };
  const training = { optimiser: "adam", clip: 1, extra_checkpoints: 0 };
  return {
    task: TASK,
    params: { ...model, ...training, ...params },
    probes: [],
    label: "mixture of hidden Markov models",
  };
}

/** Divergence over training, between those of exact averaging (none) and of guessing evenly. */
function divergenceFigure(seeds: readonly Comparison[]): LineFigure {
  return {
    kind: "lines",
    name: "divergence",
    title: "Divergence of the model from exact Bayesian averaging",
    caption: `KL(averaging || model), mean over positions. ${meanCaption(seeds.length)} 0 is the ceiling, the first checkpoint chance.`,
    x: { title: "training step", log: true },
    y: { title: "nats a token", log: true },
    lines: [
      meanLine(
        "model",
        seeds.map(({ divergence }) => divergence),
      ),
    ],
  };
}

/** Regret over the prompt's length, with that of exact averaging as the ceiling. */
function regretFigure(seeds: readonly Comparison[], concepts: number): LineFigure {
  const curve = (values: readonly number[]): Curve => ({ steps: values.map((_, i) => i + 1), values: [...values] });
  const { steps } = curve(seeds[0]!.regret.model);
  return {
    kind: "lines",
    name: "regret",
    title: "Regret against the predictor that knows the concept",
    caption: `Mean loss above that predictor's over the first T tokens. ${meanCaption(seeds.length)}`,
    x: { title: "tokens T", log: true },
    y: { title: "nats a token", log: true },
    lines: [
      meanLine(
        "model",
        seeds.map(({ regret }) => curve(regret.model)),
      ),
      meanLine(
        "exact averaging",
        seeds.map(({ regret }) => curve(regret.averaging)),
      ),
      {
        name: "bound of averaging, ln(concepts) / T",
        x: [...steps],
        y: steps.map((t) => Math.log(concepts) / t),
        dashed: true,
      },
    ],
  };
}

/** In-context learning as Bayesian model averaging over latent concepts. */
export const bayesianAveraging: Experiment<typeof parameters> = {
  name: "bayesian-averaging",
  title: "In-context learning as Bayesian model averaging",
  description:
    "Transformers learn sequences that each follow one of a few hidden Markov models. Their predictions are compared, token by token, with the exact average of " +
    "the models by their posterior: over training, over the length of the prompt, and on models that were never learned.",
  source: `${ZHANG}; ${XIE}`,
  trials:
    "Two seeds were tried for 300 steps: divergence 0.04, powers of T about -0.65. The preset had 3,000 steps and " +
    "was cut to 1,200 for the time, before any verdict of it was seen. No threshold was changed.",
  parameters,
  presets: {
    quick: {},
    full: { seeds: [0, 1, 2, 3, 4, 5, 6, 7], steps: 20_000, context: 256, concepts: 32, vocabulary: 64, n_layers: 4, d_model: 128, learning_rate: 1e-3, checkpoints: 16 },
  },
  claims,
  stages: (params) => [
    trainingStage(planOf(params), params.seeds),
    ...params.seeds.map((seed) => ({ label: labelOf(seed), work: MEASURING * params.checkpoints })),
  ],
  async run(params, context) {
    const runs = await context.train(planOf(params), params.seeds);
    const seeds: Comparison[] = [];
    for (const run of runs) seeds.push(await compare(run, params.rows, context));
    return { claims: judge(seeds), figures: [divergenceFigure(seeds), regretFigure(seeds, params.concepts)] };
  },
}; // biome-ignore format: a table
