import { z } from "zod";
import { HeadscopeError } from "../../backend/common/errors.ts";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { referenceLevels } from "../../backend/training/evaluations.ts";
import { makeSpec } from "../../backend/training/spec.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import { type ClaimStatement, type Experiment, seedList, type TrainedRun, type TrainingPlan } from "../base.ts"; // biome-ignore format: one line
import { finalValue, levelLine, mean, meanCaption, meanLine } from "../curves.ts";
import { meansLine } from "../intervals.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS } from "../verdicts.ts";
import { type ArmLosses, AS_GOOD, COSTS, judge, type VariantLosses } from "./judge.ts";

const TASK = "linear-regression";
const METRIC = "in-context.loss";

const POWER = "Zimerman et al. 2024, Power-Softmax: Towards Secure LLM Inference over Encrypted Data";
const SIGMA = "Lin et al. 2025, Sigma: Differential Rescaling of Query, Key and Value for Efficient Language Models";

const parameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds, trained together"),
  steps: z.int().min(100).default(1500).describe("optimiser steps of every model"),
  dimension: z.int().min(1).default(4).describe("numbers of an x"),
  examples: z.int().min(2).default(12).describe("pairs x, y of a sequence; the last y is only predicted"),
  sigma: z.number().positive().default(0.5).describe("standard deviation of the noise of y"),
  powers: z.array(z.int().min(2).max(8).multipleOf(2)).min(1).default([2, 4]).describe("powers of the scores, instead of a softmax over them"),
  shares: z.array(z.int().min(2).max(64)).min(1).default([4]).describe("factors by which the heads, or the width, of keys or of values are divided, ascending"),
  n_layers: z.int().min(1).default(3).describe("layers"),
  n_heads: z.int().min(2).default(4).describe("attention heads of a layer"),
  d_model: z.int().min(4).default(32).describe("width of the residual stream"),
  batch: z.int().min(1).default(32).describe("sequences of a step"),
  learning_rate: z.number().positive().default(4e-3).describe("Adam's largest learning rate"),
  rows: z.int().min(64).default(1024).describe("sequences on which the loss is measured"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const claims: readonly ClaimStatement[] = [
  {
    id: "power",
    statement: "A model whose attention is an even power of the scores over their sum is about as good as one of softmax, at equal size.",
    source: POWER,
    check:
      `With each power, the loss is at most ${AS_GOOD} above that of softmax with the same seed, as a share of the distance from the best predictor (0) to ` +
      `answering 0 (1), ${QUORUM_WORDS}.`,
  },
  {
    id: "fewer-keys",
    statement: "Fewer heads of keys cost less than fewer heads of values.",
    source: `${SIGMA}, section on differential compression of K and V`,
    check:
      `With the heads of keys divided by the largest factor the loss rises less than with those of values divided by it, ${QUORUM_WORDS}. A seed in which neither costs ` +
      `${COSTS} of the same distance cannot say.`,
  },
  {
    id: "narrower-keys",
    statement: "Narrower keys (and queries) cost less than narrower values.",
    source: `${SIGMA}, section on differential compression of K and V`,
    check: `The same of widths, ${QUORUM_WORDS}. A seed in which neither costs ${COSTS} cannot say.`,
  },
  {
    id: "equal-loss",
    statement: "Keys may shrink at equal loss.",
    source: SIGMA,
    check: `With the heads of keys divided by the largest factor the loss is at most ${AS_GOOD} of the same distance above that of the whole model, ${QUORUM_WORDS}.`,
  },
]; // biome-ignore format: sentences

/** A way in which a model differs from softmax attention with equal keys and values. */
interface Variant {
  readonly name: string;
  readonly model: Readonly<Record<string, unknown>>;
}

const WHOLE = "softmax, all heads";

/** The variants by name; those of one factor are of equally many numbers of keys and of values. */
function variantsOf({ powers, shares, n_heads, d_model }: Params) {
  const width = d_model / n_heads;
  const shrunk = (of: "key" | "value", what: "heads" | "width", share: number): Variant => ({
    name: `${of} ${what} / ${share}`,
    model: { [`${of}_${what}`]: (what === "heads" ? n_heads : width) / share },
  });
  const each = (of: "key" | "value", what: "heads" | "width") => shares.map((share) => shrunk(of, what, share));
  return {
    whole: { name: WHOLE, model: {} },
    powers: powers.map((power) => ({
      name: `power ${power}`,
      model: { attention: "polynomial", attention_power: power },
    })),
    keyHeads: each("key", "heads"),
    valueHeads: each("value", "heads"),
    keyWidths: each("key", "width"),
    valueWidths: each("value", "width"),
  };
}

const all = (params: Params): Variant[] => Object.values(variantsOf(params)).flat();

/** @throws HeadscopeError (usage) for a factor that divides not both the heads and the width of one */
function checkShares({ shares, n_heads, d_model }: Params): void {
  const odd = shares.find((share) => n_heads % share !== 0 || (d_model / n_heads) % share !== 0);
  if (odd === undefined) return;
  throw new HeadscopeError(
    "usage",
    `shares: ${n_heads} heads of ${d_model / n_heads} numbers can't both be divided by ${odd}`,
    { remedy: "give common divisors of n_heads and d_model / n_heads", field: ["shares", "n_heads", "d_model"] },
  );
}

function planOf(params: Params, { name, model }: Variant): TrainingPlan {
  const { dimension, examples, sigma, n_layers, n_heads, d_model, steps, batch, learning_rate, rows } = params;
  const training = { steps, batch, learning_rate, optimiser: "adam", schedule: "cosine", warmup: 100, clip: 1, points: 16, checkpoints: 1, evaluation_rows: rows };
  return {
    task: TASK,
    params: { dimension, examples, sigma, tau: 1, n_layers, n_heads, d_model, attn_only: false, ...model, ...training },
    label: name,
  };
} // biome-ignore format: one line

/** Loss of the best predictor by seed, on the sequences on which the runs are evaluated; and of answering 0. */
function levels(params: Params): { readonly best: readonly number[]; readonly chance: number } {
  const task = tasks.get(TASK);
  const { params: own, training } = makeSpec(task, planOf(params, variantsOf(params).whole).params);
  const best = params.seeds.map((seed) => referenceLevels(task, { params: own, training }, seed)["in-context"]!.loss!);
  return { best, chance: task.evaluations["in-context"]!.chance!(own).loss! };
}

/** Losses of a variant by seed, as shares of the distance from the best predictor (0) to answering 0 (1). */
function lossesOf(
  runs: readonly TrainedRun[],
  { best, chance }: ReturnType<typeof levels>,
): ArmLosses & { readonly curves: readonly { steps: number[]; values: number[] }[] } {
  const curves = runs.map(({ curves }, s) => {
    const { steps, values } = curves.get(METRIC)!;
    return { steps: [...steps], values: values.map((loss) => (loss - best[s]!) / (chance - best[s]!)) };
  });
  return { losses: curves.map(finalValue), curves };
}

const LOSS = "loss: 0 best predictor, 1 answering 0";

/** Loss by step: softmax and the powers of the scores. */
function curvesFigure(lines: readonly [string, readonly { steps: number[]; values: number[] }[]][]): LineFigure {
  const drawn = lines.map(([name, curves]) => meanLine(name, curves));
  const { x } = drawn[0]!;
  return {
    kind: "lines",
    name: "power",
    title: "Loss of powers of the scores beside softmax",
    caption: meanCaption(lines[0]![1].length),
    x: { title: "step", log: true },
    y: { title: LOSS, range: [0, 1.1] },
    lines: [...drawn, levelLine("best predictor (ceiling)", x, 0), levelLine("answering 0 (chance)", x, 1)],
  };
}

/** Loss by the factor by which heads or widths are divided, of keys and of values. */
function shrinkingFigure(
  what: "heads" | "widths",
  shares: readonly number[],
  arms: { readonly whole: readonly number[]; readonly keys: readonly (readonly number[])[]; readonly values: readonly (readonly number[])[] },
): LineFigure {
  const x = [1, ...shares];
  return {
    kind: "lines",
    name: what,
    title: what === "heads" ? "Loss with fewer heads of keys or of values" : "Loss with narrower keys or values",
    caption: `Means over ${arms.whole.length} seeds with their 95 % intervals.`,
    x: { title: what === "heads" ? "heads divided by" : "width divided by", whole: true },
    y: { title: LOSS, range: [0, 1.1] },
    lines: [
      meansLine("keys", x, [arms.whole, ...arms.keys]),
      meansLine("values", x, [arms.whole, ...arms.values]),
      levelLine("best predictor (ceiling)", x, 0),
      levelLine("answering 0 (chance)", x, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line

/** Powers of the scores in softmax's place, and keys and values that are fewer or narrower. */
export const attentionVariants: Experiment<typeof parameters> = {
  name: "attention-variants",
  title: "Powers in softmax's place, and what keys and values may do without",
  description:
    "Transformers of one size regress linear functions in context: with softmax, with even powers of the scores over their sum (Power-Softmax), and with fewer or narrower keys or values " +
    "(Sigma's DiffQKV). Losses are compared seed by seed, as shares of the distance from the best predictor to answering 0.",
  source: `${POWER}; ${SIGMA}`,
  trials:
    "No trial was made: sizes, rates and steps are those of forgetting's models, with four heads. Thresholds were " +
    "written before any training, and none was changed.",
  parameters,
  presets: {
    quick: {},
    full: {
      ...{ steps: 20_000, dimension: 8, examples: 24, n_layers: 4, n_heads: 8, d_model: 128, batch: 64 },
      ...{ powers: [2, 4, 8], shares: [2, 4, 8], learning_rate: 1e-3, rows: 2048 },
    },
  },
  claims,
  stages: (params) => all(params).map((variant) => trainingStage(planOf(params, variant), params.seeds)),
  async run(params, context) {
    const { seeds, shares } = params;
    checkShares(params);
    for (const variant of all(params)) context.check(planOf(params, variant), seeds);
    const level = levels(params);
    const measured = new Map<string, ReturnType<typeof lossesOf>>();
    for (const variant of all(params))
      measured.set(variant.name, lossesOf(await context.train(planOf(params, variant), seeds), level));
    const { whole, powers, keyHeads, valueHeads, keyWidths, valueWidths } = variantsOf(params);
    const losses = (variants: readonly Variant[]) => variants.map(({ name }) => measured.get(name)!.losses);
    const own = measured.get(whole.name)!.losses;
    const found: VariantLosses = {
      whole: own,
      powers: powers.map(({ name }) => ({ name, losses: measured.get(name)!.losses })),
      ...{ keyHeads: losses(keyHeads).at(-1)!, valueHeads: losses(valueHeads).at(-1)! },
      ...{ keyWidths: losses(keyWidths).at(-1)!, valueWidths: losses(valueWidths).at(-1)! },
      factor: shares.at(-1)!,
    };
    return {
      claims: judge(found),
      figures: [
        curvesFigure([whole, ...powers].map(({ name }) => [name, measured.get(name)!.curves])),
        shrinkingFigure("heads", shares, { whole: own, keys: losses(keyHeads), values: losses(valueHeads) }),
        shrinkingFigure("widths", shares, { whole: own, keys: losses(keyWidths), values: losses(valueWidths) }),
      ],
      summary: `Mean squared error of the best predictor ${mean(level.best).toFixed(3)}, of answering 0 ${level.chance.toFixed(3)}.`,
    };
  },
}; // biome-ignore format: a line a step
