import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { Random } from "../../backend/common/random.ts";
import { counted } from "../../backend/common/text.ts";
import { parameterCount, parameterLayout } from "../../backend/models/weights/trainable.ts";
import { selectPlaces } from "../../backend/training/changes/parts.ts";
import { EVALUATION_STREAM } from "../../backend/training/evaluations.ts";
import { makeSpec, modelConfigOf } from "../../backend/training/spec.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import { type ClaimResult, type ClaimStatement, type Experiment, seedList, type TrainedRun, type TrainingPlan } from "../base.ts"; // biome-ignore format: one line
import { type Curve, finalValue, mean, meanBand, meanCaption, meanLine } from "../curves.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";

const TASK = "hmm-mixture";
const EVALUATION = "in-context";
const ZHU = "Zhu and Gupta 2017, To prune, or not to prune: exploring the efficacy of pruning for model compression";
/** All matrices of a model: both sides of a comparison then have weights of every kind. */
const PARTS = ["embed", "pos_embed", "attention", "mlp", "unembed"];
/** Heads of a layer of every model but the one with fewer. */
const HEADS = 4;
/** Share by which one excess loss must be below another to count. */
const MARGIN = 0.02;
/** Share by which the moderately pruned model's excess loss may be above that of the whole one. */
const CLOSE = 0.25;

const parameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds, trained together"),
  steps: z.int().min(100).default(600).describe("optimiser steps of every model"),
  points: z.int().min(10).default(25).describe("steps at which the loss is measured, evenly spaced"),
  context: z.int().min(8).default(24).describe("tokens of a sequence"),
  concepts: z.int().min(1).default(4).describe("hidden Markov models of the mixture"),
  vocabulary: z.int().min(4).default(16).describe("token ids"),
  states: z.int().min(1).default(4).describe("hidden states of a concept"),
  n_layers: z.int().min(1).default(2).describe("layers of every model"),
  large: z.int().min(8).default(32).describe("width of the large model, a multiple of 4"),
  small: z.array(z.int().min(4)).min(2).default([16, 8]).refine((widths) => widths.every((width, i) => i === 0 || width < widths[i - 1]!), "give falling widths").describe("widths of the small models, falling, multiples of 4"),
  heads: z.int().min(1).max(HEADS - 1).default(2).describe(`heads of a layer of the large model's rival with fewer of them, below ${HEADS}`),
  batch: z.int().min(1).default(16).describe("sequences of a step"),
  learning_rate: z.number().positive().default(2e-3).describe("Adam's learning rate"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const claims: readonly ClaimStatement[] = [
  {
    id: "moderate",
    statement: "A large model that is pruned while it trains is better than a small dense one of as many weights (moderate compression).",
    source: `${ZHU}, sections 4 and 5`,
    check:
      "With the large model pruned to the non-zero weights of the widest small one, its final excess loss is at least " +
      `${100 * MARGIN} % below the small one's, ${QUORUM_WORDS}. A seed whose losses are closer cannot say. Excess is above the loss of exact averaging on the same sequences.`,
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
    check: `Its final excess loss is at most ${100 * CLOSE} % above that of the large dense model, ${QUORUM_WORDS}.`,
  },
  {
    id: "heads",
    statement: "The same of whole heads: a model that loses some while it trains is better than one that never had them.",
    source: `Expected of ${ZHU}, who prune single weights`,
    check:
      "With the large model's heads pruned, over all layers those of the smallest product of the norms of W_V and W_O, its final excess loss is at least " +
      `${100 * MARGIN} % below that of a dense model of the same widths with as many heads in all, ${QUORUM_WORDS}. A seed whose losses are closer cannot say.`,
  },
]; // biome-ignore format: sentences

/** A small dense model beside the large one pruned to as many weights. */
interface Pair {
  /** Non-zero weights of each. */
  readonly weights: number;
  /** Final excess losses by seed, nats a token. */
  readonly dense: readonly number[];
  readonly sparse: readonly number[];
}

/** The models that are compared. */
interface Compared {
  /** By falling width. */
  readonly widths: readonly Pair[];
  /** With fewer heads. */
  readonly heads: Pair;
  /** Final excess losses of the large dense model, by seed. */
  readonly whole: readonly number[];
}

/** Decides the claims. */
export function judge({ widths, heads, whole }: Compared): ClaimResult[] {
  const [moderate, strong] = [widths[0]!, widths.at(-1)!];
  const better = ({ dense, sparse }: Pair) =>
    dense.map((loss, s) => (Math.abs(sparse[s]! - loss) < MARGIN * loss ? undefined : sparse[s]! < loss));
  const compared = (id: string, pair: Pair): ClaimResult => ({
    id,
    measured: {
      "non-zero weights of each": pair.weights,
      "final excess loss, large and pruned, mean, nats": mean(pair.sparse),
      "final excess loss, small and dense, mean, nats": mean(pair.dense),
    },
    ...vote(better(pair), "the large pruned model is better", "the two losses are too close to tell"),
  });
  return [
    compared("moderate", moderate),
    compared("strong", strong),
    {
      id: "nearly-whole",
      measured: {
        "final excess loss, pruned, mean, nats": mean(moderate.sparse),
        "final excess loss, whole, mean, nats": mean(whole),
        "largest ratio": Math.max(...moderate.sparse.map((loss, s) => loss / whole[s]!)),
      },
      ...vote(
        moderate.sparse.map((loss, s) => loss <= (1 + CLOSE) * whole[s]!),
        "the pruned model is nearly as good as the whole one",
        "",
      ),
    },
    compared("heads", heads),
  ];
}

/** The plan of a dense model. @param d_model its width @param other model parameters that differ */
function densePlan(params: Params, d_model: number, other: { readonly n_heads?: number; readonly d_head?: number } = {}): TrainingPlan {
  const { context, concepts, vocabulary, states, n_layers, steps, points, batch, learning_rate } = params;
  const model = { n_layers, n_heads: HEADS, d_model, attn_only: false, act_fn: "gelu", positional_embedding_type: "standard" };
  const training = { steps, points, batch, learning_rate, clip: 1, spacing: "linear", checkpoints: 1, extra_checkpoints: 0 };
  const { n_heads = HEADS } = other;
  return {
    task: TASK,
    params: { context, concepts, vocabulary, states, ...model, ...other, ...training },
    label: `width ${d_model}${n_heads === HEADS ? "" : `, ${counted(n_heads, "head")} a layer`}`,
  };
} // biome-ignore format: a table

/** The plan of the large model that loses a share of its weights or heads, from a tenth to six tenths of the steps. */
function prunedPlan(params: Params, prune: "weights" | "heads", sparsity: number): TrainingPlan {
  const { params: dense, label } = densePlan(params, params.large);
  const [start, end] = [Math.round(0.1 * params.steps), Math.round(0.6 * params.steps)];
  const schedule = { prune_start: start, prune_end: end, prune_every: Math.max(1, Math.round((end - start) / 25)) };
  const what = prune === "weights" ? { prune_parts: PARTS } : {};
  return {
    task: TASK,
    params: { ...dense, prune, prune_sparsity: sparsity, ...what, ...schedule },
    label: `${label}, ${prune === "heads" ? "heads " : ""}pruned by ${(100 * sparsity).toFixed(1)} %`,
  };
}

/** Weights of a model of some width: all of them, and those that pruning may take. */
function weightsOf(params: Params, width: number): { all: number; prunable: number } {
  const task = tasks.get(TASK);
  const spec = makeSpec(task, densePlan(params, width).params);
  const places = parameterLayout(modelConfigOf(spec.model, task.shape(spec.params)));
  const matrices = selectPlaces(places, PARTS, "prune_parts").filter(({ kind }) => kind === "matrix");
  return { all: parameterCount(places), prunable: matrices.reduce((sum, { size }) => sum + size, 0) };
}

/** Share of the large model's prunable weights without which it has as many as a small one. */
export function matchingSparsity(params: Params, width: number): number {
  const [large, small] = [weightsOf(params, params.large), weightsOf(params, width)];
  return (large.all - small.all) / large.prunable;
}

/** The plans of the model with fewer heads, as wide as the large one's, and of the large one that is pruned to as many. */
export function headPlans(params: Params) {
  const { heads, large } = params;
  return {
    dense: densePlan(params, large, { n_heads: heads, d_head: large / HEADS }),
    sparse: prunedPlan(params, "heads", 1 - heads / HEADS),
  };
}

/** Every plan: the large dense model's, and those of each comparison, of which the last is that of heads. */
function plansOf(params: Params) {
  const { large, heads, n_layers, small } = params;
  const whole = weightsOf(params, large).all;
  const widths = small.map((width) => ({
    ...{ weights: weightsOf(params, width).all, dense: densePlan(params, width) },
    sparse: prunedPlan(params, "weights", matchingSparsity(params, width)),
  }));
  const gone = n_layers * (HEADS - heads) * 4 * large * (large / HEADS); // of W_Q, W_K, W_V and W_O
  const pairs = [...widths, { weights: whole - gone, ...headPlans(params) }];
  const dense = densePlan(params, large);
  return { whole: { weights: whole, dense }, pairs, all: [dense, ...pairs.flatMap((pair) => [pair.dense, pair.sparse])] };
} // biome-ignore format: one line

/** Losses of exact averaging by seed, on the sequences on which its runs are evaluated; and of guessing. */
function levels(params: Params): { readonly best: readonly number[]; readonly guess: number } {
  const task = tasks.get(TASK);
  const { params: own, training } = makeSpec(task, densePlan(params, params.large).params);
  const { sample, chance } = task.evaluations[EVALUATION]!;
  const stream = EVALUATION_STREAM + Object.keys(task.evaluations).indexOf(EVALUATION);
  const best = params.seeds.map((seed) => {
    const world = task.world(own, seed);
    const batch = sample(world, own, new Random(seed, stream), training.evaluation_rows);
    const predicted = task.reference!.predict(world, own, batch);
    const scored = [...batch.weights.keys()].filter((i) => batch.weights[i]! > 0);
    return mean(scored.map((i) => -predicted[i * params.vocabulary + batch.classes![i]!]!));
  });
  return { best, guess: chance!(own).loss! };
}

/** A trained model of every seed, by its losses above those of exact averaging over training. */
interface Trained {
  readonly name: string;
  readonly curves: readonly Curve[];
}

/** @param best loss of exact averaging for each run's seed */
function excess(name: string, runs: readonly TrainedRun[], best: readonly number[]): Trained {
  const curves = runs.map((run, s) => {
    const { steps, values } = run.curves.get(`${EVALUATION}.loss`)!;
    return { steps, values: values.map((value) => value - best[s]!) };
  });
  return { name, curves };
}

const finals = ({ curves }: Trained): number[] => curves.map(finalValue);

/** Excess loss over non-zero weights. @param weights of the large dense model @param chance mean excess loss of guessing */
function sizeFigure({ widths, heads, whole }: Compared, weights: number, chance: number): LineFigure {
  const line = (name: string, points: readonly { weights: number; losses: readonly number[] }[]) => {
    const sorted = [...points].sort((a, b) => a.weights - b.weights);
    return {
      ...{ name, points: true, x: sorted.map((p) => p.weights), y: sorted.map((p) => mean(p.losses)) },
      ...(whole.length > 1 ? { band: meanBand(sorted.map((p) => p.losses)) } : {}),
    };
  };
  const large = { weights, losses: whole };
  const x = [widths.at(-1)!.weights, weights];
  return {
    kind: "lines",
    name: "loss-over-weights",
    title: "Large and pruned against small and dense",
    caption: `Final loss above that of exact averaging (the ceiling, 0). ${meanCaption(whole.length)}`,
    x: { title: "non-zero weights", log: true },
    y: { title: "excess loss, nats a token", log: true },
    lines: [
      line("dense, narrower", [...widths.map(({ weights, dense }) => ({ weights, losses: dense })), large]),
      line("large, weights pruned", [...widths.map(({ weights, sparse }) => ({ weights, losses: sparse })), large]),
      line("dense, fewer heads", [{ weights: heads.weights, losses: heads.dense }, large]),
      line("large, heads pruned", [{ weights: heads.weights, losses: heads.sparse }, large]),
      { name: "guessing (chance)", x, y: [chance, chance], dashed: true },
    ],
  };
}

/** Excess losses over training. @param chance mean excess loss of guessing */
function curveFigure(models: readonly Trained[], chance: number): LineFigure {
  const lines = models.map(({ name, curves }) => meanLine(name, curves));
  const { x } = lines[0]!;
  return {
    kind: "lines",
    name: "losses",
    title: "Losses above exact averaging over training",
    caption: `0 is the ceiling. Pruning goes from a tenth to six tenths of the steps. ${meanCaption(models[0]!.curves.length)}`,
    x: { title: "training step" },
    y: { title: "excess loss, nats a token", log: true },
    lines: [...lines, { name: "guessing (chance)", x, y: x.map(() => chance), dashed: true }],
  };
} // biome-ignore format: a line of the figure a line

/** Zhu and Gupta's comparison on a mixture of hidden Markov models. */
export const pruneOrNot: Experiment<typeof parameters> = {
  name: "prune-or-not",
  title: "To prune, or not to prune: large and sparse against small and dense",
  description:
    "Transformers learn a mixture of hidden Markov models. A large one loses weights while it trains, by magnitude and a cubic schedule, until " +
    "it has as many as a small dense one, matrices of every kind included, or whole heads, until it has as many as one that never had more; their losses above that of exact Bayesian averaging are compared.",
  source: ZHU,
  trials:
    "Two other presets were begun and stopped: linear regression had not left chance after 670 steps, the mixture " +
    "at larger widths took too long; no comparison was looked at. Thresholds were written before the preset was " +
    "run. The claim of heads was added later, with the same bounds, and run once.",
  parameters,
  presets: {
    quick: {},
    full: {
      ...{ steps: 10_000, points: 50, context: 64, concepts: 8, n_layers: 4, large: 128, small: [64, 32, 16] },
      ...{ batch: 64, learning_rate: 1e-3 },
    },
  },
  claims,
  stages: (params) => plansOf(params).all.map((plan) => trainingStage(plan, params.seeds)),
  async run(params, { check, train }) {
    const { seeds } = params;
    const { whole, pairs, all } = plansOf(params);
    for (const plan of all) check(plan, seeds);
    const { best, guess } = levels(params);
    const trained = async (plan: TrainingPlan) => excess(plan.label, await train(plan, seeds), best);
    const large = await trained(whole.dense);
    const models: Trained[] = [large];
    const compared: Pair[] = [];
    for (const { weights, dense, sparse } of pairs) {
      const [small, pruned] = [await trained(dense), await trained(sparse)];
      models.push(small, pruned);
      compared.push({ weights, dense: finals(small), sparse: finals(pruned) });
    }
    const chance = guess - mean(best);
    const [widths, heads] = [compared.slice(0, -1), compared.at(-1)!];
    const losses = finals(large);
    return {
      claims: judge({ widths, heads, whole: losses }),
      figures: [sizeFigure({ widths, heads, whole: losses }, whole.weights, chance), curveFigure(models, chance)],
    };
  },
};
