import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { Random } from "../../backend/common/random.ts";
import { counted } from "../../backend/common/text.ts";
import { parameterCount, parameterLayout } from "../../backend/models/weights/trainable.ts";
import { selectPlaces } from "../../backend/training/changes/parts.ts";
import { makeSpec, modelConfigOf } from "../../backend/training/spec.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import { type ClaimResult, type ClaimStatement, type Experiment, seedList, type TrainedRun } from "../base.ts";
import { finalValue, mean, meanLine } from "../curves.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";

const TASK = "linear-regression";
const LOSS = "in-context.loss";
const ZHU = "Zhu and Gupta 2017, To prune, or not to prune: exploring the efficacy of pruning for model compression";
/** All matrices of a model: both sides of a comparison then have weights of every kind. */
const PARTS = ["embed", "pos_embed", "attention", "mlp", "unembed"];
/** Share by which one loss must be below another to count. */
const MARGIN = 0.02;
/** Share by which the moderately pruned model's loss may be above that of the whole one. */
const CLOSE = 0.1;
/** Stream of a seed that no batch of the training is drawn from, and sequences on which the best prediction is measured. */
const [STREAM, ROWS] = [0xe2000000, 2000] as const;

const parameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds, trained together"),
  steps: z.int().min(100).default(1000).describe("optimiser steps of every model"),
  points: z.int().min(10).default(25).describe("steps at which the loss is measured, evenly spaced"),
  dimension: z.int().min(1).default(5).describe("numbers of an x"),
  examples: z.int().min(2).default(11).describe("pairs of a sequence"),
  n_layers: z.int().min(1).default(2).describe("layers of every model"),
  large: z.int().min(8).default(64).describe("width of the large model, a multiple of 4"),
  small: z.array(z.int().min(4)).min(2).default([32, 16]).refine((widths) => widths.every((width, i) => i === 0 || width < widths[i - 1]!), "give falling widths").describe("widths of the small models, falling, multiples of 4"),
  batch: z.int().min(1).default(32).describe("sequences of a step"),
  learning_rate: z.number().positive().default(2e-3).describe("Adam's learning rate"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const claims: readonly ClaimStatement[] = [
  {
    id: "moderate",
    statement: "A large model that is pruned while it trains is better than a small dense one of as many weights (moderate compression).",
    source: `${ZHU}, sections 4 and 5`,
    check:
      "With the large model pruned to the non-zero weights of the widest small one, its final loss is at least " +
      `${100 * MARGIN} % below the small one's, ${QUORUM_WORDS}. A seed whose losses are closer cannot say.`,
  },
  {
    id: "strong",
    statement: "The same at strong compression.",
    source: `${ZHU}, sections 4 and 5`,
    check: "As before, with the narrowest small model.",
  },
  {
    id: "nearly-whole",
    statement: "At moderate compression the pruned model is nearly as good as the whole one.",
    source: `${ZHU}, table 1`,
    check: `Its final loss is at most ${100 * CLOSE} % above that of the large dense model, ${QUORUM_WORDS}.`,
  },
]; // biome-ignore format: sentences

/** A small dense model beside the large one pruned to as many weights. */
interface Pair {
  readonly width: number;
  /** Non-zero weights of each. */
  readonly weights: number;
  /** Final losses by seed. */
  readonly dense: readonly number[];
  readonly sparse: readonly number[];
}

/** Decides the claims. @param pairs by falling width @param whole final losses of the large dense model, by seed */
export function judge(pairs: readonly Pair[], whole: readonly number[]): ClaimResult[] {
  const [moderate, strong] = [pairs[0]!, pairs.at(-1)!];
  const better = ({ dense, sparse }: Pair) =>
    dense.map((loss, s) => (Math.abs(sparse[s]! - loss) < MARGIN * loss ? undefined : sparse[s]! < loss));
  const compared = (id: string, pair: Pair): ClaimResult => ({
    id,
    measured: {
      "non-zero weights of each": pair.weights,
      "final loss, large and pruned, mean": mean(pair.sparse),
      "final loss, small and dense, mean": mean(pair.dense),
    },
    ...vote(better(pair), "the large pruned model is better", "the two losses are too close to tell"),
  });
  return [
    compared("moderate", moderate),
    compared("strong", strong),
    {
      id: "nearly-whole",
      measured: {
        "final loss, pruned, mean": mean(moderate.sparse),
        "final loss, whole, mean": mean(whole),
        "largest ratio": Math.max(...moderate.sparse.map((loss, s) => loss / whole[s]!)),
      },
      ...vote(
        moderate.sparse.map((loss, s) => loss <= (1 + CLOSE) * whole[s]!),
        "the pruned model is nearly as good as the whole one",
        "",
      ),
    },
  ];
}

/** The plan of a dense model, or with a sparsity of one that is pruned: from a tenth to six tenths of the steps. */
function planOf(params: Params, d_model: number, sparsity?: number) {
  const { dimension, examples, n_layers, steps, points, batch, learning_rate } = params;
  const model = { n_layers, n_heads: 4, d_model, attn_only: false, act_fn: "gelu" };
  const training = { steps, points, batch, learning_rate, clip: 1, spacing: "linear", checkpoints: 1, extra_checkpoints: 0 };
  const [start, end] = [Math.round(0.1 * steps), Math.round(0.6 * steps)];
  const pruning = {
    ...{ prune: "weights", prune_sparsity: sparsity, prune_parts: PARTS },
    ...{ prune_start: start, prune_end: end, prune_every: Math.max(1, Math.round((end - start) / 25)) },
  };
  return {
    task: TASK,
    params: { dimension, examples, ...model, ...training, ...(sparsity === undefined ? {} : pruning) },
    label: sparsity === undefined ? `width ${d_model}` : `width ${d_model}, pruned by ${(100 * sparsity).toFixed(1)} %`,
  };
} // biome-ignore format: a table

/** Weights of a model of some width: all of them, and those that pruning may take. */
function weightsOf(params: Params, width: number): { all: number; prunable: number } {
  const task = tasks.get(TASK);
  const spec = makeSpec(task, planOf(params, width).params);
  const places = parameterLayout(modelConfigOf(spec.model, task.shape(spec.params)));
  const matrices = selectPlaces(places, PARTS, "prune_parts").filter(({ kind }) => kind === "matrix");
  return { all: parameterCount(places), prunable: matrices.reduce((sum, { size }) => sum + size, 0) };
}

/** Share of the large model's prunable weights without which it has as many as a small one. */
export function matchingSparsity(params: Params, width: number): number {
  const [large, small] = [weightsOf(params, params.large), weightsOf(params, width)];
  return (large.all - small.all) / large.prunable;
}

const plans = (params: Params) => ({
  whole: planOf(params, params.large),
  pairs: params.small.map((width) => ({
    ...{ width, weights: weightsOf(params, width).all },
    dense: planOf(params, width),
    sparse: planOf(params, params.large, matchingSparsity(params, width)),
  })),
});

const losses = (runs: readonly TrainedRun[]): number[] => runs.map(({ curves }) => finalValue(curves.get(LOSS)!));

/** Loss of the best prediction there is, and of answering 0. */
function levels(params: Params): { best: number; guess: number } {
  const task = tasks.get(TASK);
  const { params: own } = makeSpec(task, planOf(params, params.large).params);
  const evaluation = task.evaluations["in-context"]!;
  const batch = evaluation.sample(null, own, new Random(0, STREAM), ROWS);
  const predicted = task.reference!.predict(null, own, batch);
  const scored = [...batch.weights.keys()].filter((i) => batch.weights[i]! > 0);
  return {
    best: mean(scored.map((i) => (predicted[i]! - batch.values![i]!) ** 2)),
    guess: evaluation.chance!(own).loss!,
  };
}

/** Loss over non-zero weights. */
function sizeFigure(
  pairs: readonly Pair[],
  whole: { weights: number; losses: readonly number[] },
  { best, guess }: ReturnType<typeof levels>,
): LineFigure {
  const line = (name: string, points: readonly { weights: number; losses: readonly number[] }[]) => {
    const sorted = [...points].sort((a, b) => a.weights - b.weights);
    return {
      ...{ name, points: true, x: sorted.map((p) => p.weights), y: sorted.map((p) => mean(p.losses)) },
      band: { low: sorted.map((p) => Math.min(...p.losses)), high: sorted.map((p) => Math.max(...p.losses)) },
    };
  };
  const x = [pairs.at(-1)!.weights, whole.weights];
  return {
    kind: "lines",
    name: "loss-over-weights",
    title: "Large and pruned against small and dense",
    caption: `Final loss, mean of ${counted(whole.losses.length, "seed")}, bands from the lowest to the highest.`,
    x: { title: "non-zero weights", log: true },
    y: { title: "mean squared error", log: true },
    lines: [
      line("dense", [...pairs.map(({ weights, dense }) => ({ weights, losses: dense })), whole]),
      line("large, pruned", [...pairs.map(({ weights, sparse }) => ({ weights, losses: sparse })), whole]),
      { name: "answering 0 (chance)", x, y: [guess, guess], dashed: true },
      { name: "posterior mean (ceiling)", x, y: [best, best], dashed: true },
    ],
  };
}

/** Losses over training. */
function curveFigure(
  runs: readonly { name: string; runs: readonly TrainedRun[] }[],
  { best, guess }: ReturnType<typeof levels>,
): LineFigure {
  const lines = runs.map(({ name, runs: each }) => meanLine(name, each.map(({ curves }) => curves.get(LOSS)!)));
  const { x } = lines[0]!;
  const level = (name: string, value: number) => ({ name, x, y: x.map(() => value), dashed: true });
  return {
    kind: "lines",
    name: "losses",
    title: "Losses over training",
    caption: "Pruning goes from a tenth to six tenths of the steps. Bands from the lowest to the highest seed.",
    x: { title: "training step" },
    y: { title: "mean squared error", log: true },
    lines: [...lines, level("answering 0 (chance)", guess), level("posterior mean (ceiling)", best)],
  };
} // biome-ignore format: a line of the figure a line

/** Zhu and Gupta's comparison on regression in context. */
export const pruneOrNot: Experiment<typeof parameters> = {
  name: "prune-or-not",
  title: "To prune, or not to prune: large and sparse against small and dense",
  description:
    "Transformers learn linear regression in context. A large one loses weights while it trains, by magnitude and a cubic schedule, until " +
    "it has as many as a small dense one, matrices of every kind included; the losses of the two are compared.",
  source: ZHU,
  parameters,
  presets: {
    quick: {},
    full: { steps: 20_000, points: 50, dimension: 8, examples: 20, n_layers: 4, large: 128, small: [64, 32, 16], batch: 64, learning_rate: 1e-3 },
  },
  claims,
  stages(params) {
    const { whole, pairs } = plans(params);
    return [whole, ...pairs.flatMap(({ dense, sparse }) => [dense, sparse])].map((plan) => trainingStage(plan, params.seeds));
  },
  async run(params, { check, train }) {
    const { whole, pairs } = plans(params);
    for (const plan of [whole, ...pairs.flatMap(({ dense, sparse }) => [dense, sparse])]) check(plan, params.seeds);
    const large = await train(whole, params.seeds);
    const trained: (Pair & { runs: { name: string; runs: TrainedRun[] }[] })[] = [];
    for (const { width, weights, dense, sparse } of pairs) {
      const [small, pruned] = [await train(dense, params.seeds), await train(sparse, params.seeds)];
      trained.push({
        ...{ width, weights, dense: losses(small), sparse: losses(pruned) },
        runs: [{ name: dense.label, runs: small }, { name: sparse.label, runs: pruned }],
      });
    }
    const reference = levels(params);
    return {
      claims: judge(trained, losses(large)),
      figures: [
        sizeFigure(trained, { weights: weightsOf(params, params.large).all, losses: losses(large) }, reference),
        curveFigure([{ name: whole.label, runs: large }, ...trained.flatMap(({ runs }) => runs)], reference),
      ],
    };
  },
}; // biome-ignore format: a table
