import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import {
  type ClaimResult,
  type ClaimStatement,
  type Experiment,
  type ExperimentContext,
  lastCheckpoint,
  type MeasurementPlan,
  seedList,
  type TrainedRun,
  type TrainingPlan,
} from "../base.ts";
import { type Curve, finalValue, levelLine, mean, meanCaption, meanLine } from "../curves.ts";
import { differenceText, meanText } from "../intervals.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";
import { CHOICES, type Choice, chosenSequences, measurePool, type PoolValues, poolValues } from "./sequences.ts";

const HAN = "Han et al. 2023, Understanding In-Context Learning via Supportive Pretraining Data";
const TASK = "zipf-bigram";
const GRADIENTS = "gradients";
/** Work of one sequence's gradient, in optimiser steps of one layer. */
const GRADIENT = 0.05;

/** Least difference of accuracies. */
const MARGIN = 0.03;
/** Least ratio of a share among the top sequences to that among all. */
const MORE = 1.1;

const parameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds, each with a language of its own"),
  steps: z.int().min(20).default(60).describe("optimiser steps of the first training"),
  tuning_steps: z.int().min(10).default(60).describe("optimiser steps of each continued training"),
  sequences: z.int().min(64).max(65_536).default(2048).describe("sequences that are chosen among, new to the first training"),
  share: z.number().min(0.01).max(0.5).default(0.1).describe("share of them that is chosen"),
  context: z.int().min(8).max(1024).default(32).describe("words of a sequence"),
  vocabulary: z.int().min(16).max(1024).default(64).describe("words"),
  triggers: z.int().min(1).max(64).default(3).describe("words behind which the word before them stands again"),
  n_layers: z.int().min(1).default(2).describe("layers"),
  n_heads: z.int().min(1).default(2).describe("attention heads of a layer"),
  d_model: z.int().min(4).default(32).describe("width of the residual stream"),
  batch: z.int().min(1).default(32).describe("sequences of a step"),
  learning_rate: z.number().positive().default(3e-3).describe("AdamW's learning rate in the first training"),
  tuning_rate: z.number().positive().default(1e-3).describe("the same in continued trainings"),
  evaluation_rows: z.int().min(64).default(512).describe("sequences of each evaluation"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const claims: readonly ClaimStatement[] = [
  {
    id: "top-helps",
    statement: "To go on with the sequences whose gradients point along the in-context loss's helps in context more than random ones.",
    source: `${HAN}, section 3`,
    check: `The accuracy of copies after training on the top share is at least ${MARGIN} above that after a random share, ${QUORUM_WORDS}.`,
  },
  {
    id: "bottom-does-not",
    statement: "The sequences whose gradients point least along it help less than random ones.",
    source: `${HAN}, section 3`,
    check: `The accuracy after training on the bottom share is at least ${MARGIN} below that after a random share, ${QUORUM_WORDS}.`,
  },
  {
    id: "top-over-bottom",
    statement: "The top share helps more than the bottom share.",
    source: `${HAN}, section 3`,
    check: `The accuracy after the top share is at least ${MARGIN} above that after the bottom share, ${QUORUM_WORDS}.`,
  },
  {
    id: "long-tail",
    statement: "Supportive sequences have more rare words.",
    source: `${HAN}, section 4.2`,
    check: `The share of words of the rarer half of the vocabulary is at least ${MORE} times as large in the top share as in all sequences, ${QUORUM_WORDS}.`,
  },
  {
    id: "harder",
    statement: "Supportive sequences are harder.",
    source: `${HAN}, section 4.3, in a simpler form`,
    check: `The mean loss of the top share before going on is above that of all sequences, ${QUORUM_WORDS}.`,
  },
  {
    id: "more-copies",
    statement: "Supportive sequences hold more of what only the context tells.",
    source: "this experiment's own",
    check: `The share of words that stand behind triggers is at least ${MORE} times as large in the top share as in all sequences, ${QUORUM_WORDS}.`,
  },
]; // biome-ignore format: a claim's parts a line

const PARTS = ["cosine", "loss", "rare", "copies"] as const;

/** One seed: accuracies of copies, and means over the chosen sequences and over all. */
export interface SupportiveSeed {
  readonly before: number;
  readonly after: Readonly<Record<Choice, number>>;
  readonly means: Readonly<Record<Choice | "all", Readonly<Record<(typeof PARTS)[number], number>>>>;
}

/** Decides the claims. @param seeds one each @param guess accuracy of guessing */
export function judge(seeds: readonly SupportiveSeed[], guess: number): ClaimResult[] {
  const after = (choice: Choice) => seeds.map((seed) => seed.after[choice]);
  const gains = (choice: Choice) => seeds.map((seed) => seed.after[choice] - seed.after.random);
  const apart = seeds.map(({ after: { top, bottom } }) => top - bottom);
  const parts = (of: Choice | "all", part: (typeof PARTS)[number]) => seeds.map(({ means }) => means[of][part]);
  const accuracies = {
    "accuracy before": meanText(seeds.map(({ before }) => before)),
    ...Object.fromEntries(CHOICES.map((choice) => [`after the ${choice} share`, meanText(after(choice))])),
    "chance": guess,
    "full score": 1,
  };
  const described = (part: (typeof PARTS)[number]) => ({
    "top share": meanText(parts("top", part)),
    "all": meanText(parts("all", part)),
    "bottom share": meanText(parts("bottom", part)),
  });
  const more = (part: "rare" | "copies") => parts("top", part).map((value, s) => value >= MORE * parts("all", part)[s]!);
  return [
    {
      id: "top-helps",
      measured: { "top less random": differenceText(gains("top")), ...accuracies },
      ...vote(gains("top").map((gain) => gain >= MARGIN), "the top share helps that much more", ""),
    },
    {
      id: "bottom-does-not",
      measured: { "bottom less random": differenceText(gains("bottom")), ...accuracies },
      ...vote(gains("bottom").map((gain) => gain <= -MARGIN), "the bottom share helps that much less", ""),
    },
    {
      id: "top-over-bottom",
      measured: { "top less bottom": differenceText(apart), ...accuracies },
      ...vote(apart.map((gain) => gain >= MARGIN), "the top share helps that much more", ""),
    },
    { id: "long-tail", measured: described("rare"), ...vote(more("rare"), "there are more of them", "") },
    {
      id: "harder",
      measured: described("loss"),
      ...vote(parts("top", "loss").map((loss, s) => loss > parts("all", "loss")[s]!), "the loss is higher", ""),
    },
    { id: "more-copies", measured: described("copies"), ...vote(more("copies"), "there are more of them", "") },
  ];
} // biome-ignore format: a claim a block

function basePlan(params: Params): TrainingPlan {
  const { steps, batch, learning_rate, context, vocabulary, triggers, n_layers, n_heads, d_model, evaluation_rows } = params;
  const training = { steps, batch, learning_rate, points: 12, spacing: "linear", checkpoints: 1, evaluation_rows };
  return { task: TASK, params: { context, vocabulary, triggers, n_layers, n_heads, d_model, ...training }, label: "first training" };
} // biome-ignore format: one line

/** @param from the checkpoint to begin with; absent only where the plan is checked */
function tuningPlan(params: Params, { seed, choice, chosen, from }: { seed: number; choice: Choice; chosen: number[]; from?: string }): TrainingPlan {
  const { params: base } = basePlan(params);
  const { sequences, tuning_steps: steps, tuning_rate: learning_rate } = params;
  return {
    task: TASK,
    params: { ...base, sequences, chosen, steps, learning_rate, ...(from === undefined ? {} : { from }) },
    label: `seed ${seed} goes on, ${choice} share`,
  };
} // biome-ignore format: long lines of one call

function poolPlan(params: Params, run: TrainedRun): MeasurementPlan<typeof poolValues> {
  const task = tasks.parse(TASK, { ...run.taskParams, sequences: params.sequences });
  const { id, seed } = run;
  const checkpoint = { id, step: run.checkpoints.at(-1)! };
  return {
    name: "pool",
    label: GRADIENTS,
    model: lastCheckpoint(run),
    settings: { task, seed, revision: 1 },
    values: poolValues,
    measure: (_, means) => measurePool(checkpoint, task, seed, means),
  };
}

const COPIES = "copies.accuracy";

interface Outcome {
  readonly result: SupportiveSeed;
  readonly curves: Readonly<Record<Choice, Curve>>;
}

/** Goes on with a run on each choice of sequences. */
async function outcome(params: Params, run: TrainedRun, pool: PoolValues, { train }: ExperimentContext): Promise<Outcome> {
  const { seed } = run;
  const count = Math.round(params.share * params.sequences);
  const curves = {} as Record<Choice, Curve>;
  const over = (numbers: readonly number[]) =>
    Object.fromEntries(PARTS.map((part) => [part, mean(numbers.map((n) => pool[part][n]!))])) as SupportiveSeed["means"]["all"];
  const means = { all: over([...pool.cosine.keys()]) } as Record<Choice | "all", SupportiveSeed["means"]["all"]>;
  for (const choice of CHOICES) {
    const chosen = chosenSequences(choice, pool, count, seed);
    means[choice] = over(chosen);
    const [continued] = await train(tuningPlan(params, { seed, choice, chosen, from: lastCheckpoint(run) }), [seed]);
    curves[choice] = continued!.curves.get(COPIES)!;
  }
  const after = Object.fromEntries(CHOICES.map((choice) => [choice, finalValue(curves[choice])])) as SupportiveSeed["after"];
  return { result: { before: finalValue(run.curves.get(COPIES)!), after, means }, curves };
} // biome-ignore format: long lines of one call

function tuningFigure(outcomes: readonly Outcome[], guess: number): LineFigure {
  const { steps } = outcomes[0]!.curves.top;
  return {
    kind: "lines",
    name: "continued",
    title: "In-context accuracy as training goes on with chosen sequences",
    caption: `Accuracy on words behind triggers in new sequences. ${meanCaption(outcomes.length)}`,
    x: { title: "training step, from where the first training ended" },
    y: { title: "accuracy of copies", range: [0, 1] },
    lines: [
      ...CHOICES.map((choice) => meanLine(`${choice} share`, outcomes.map(({ curves }) => curves[choice]))),
      levelLine("guessing a word (chance)", steps, guess),
      levelLine("copying always (ceiling)", steps, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line

function cosinesFigure(pools: readonly PoolValues[], count: number): LineFigure {
  const deciles = Array.from({ length: 10 }, (_, i) => i + 1);
  const curve = (pool: PoolValues, part: "rare" | "copies"): Curve => {
    const order = [...pool.cosine.keys()].sort((a, b) => pool.cosine[a]! - pool.cosine[b]!);
    const edge = (i: number) => Math.round((i * order.length) / 10);
    return { steps: deciles, values: deciles.map((i) => mean(order.slice(edge(i - 1), edge(i)).map((n) => pool[part][n]!))) };
  };
  return {
    kind: "lines",
    name: "sequences",
    title: "Words of sequences by the cosine of their gradients",
    caption: `Tenths of ${count} sequences, the least supportive first. ${meanCaption(pools.length)}`,
    x: { title: "tenth by cosine", whole: true },
    y: { title: "share of words" },
    lines: [
      meanLine("of the rarer half", pools.map((pool) => curve(pool, "rare"))),
      meanLine("copied, behind triggers", pools.map((pool) => curve(pool, "copies"))),
      levelLine("of the rarer half, all sequences", deciles, mean(pools.map(({ rare }) => mean(rare)))),
      levelLine("copied, all sequences", deciles, mean(pools.map(({ copies }) => mean(copies)))),
    ],
  };
} // biome-ignore format: a line of the figure a line

/** Continued training on the sequences whose gradients point along that of the loss in context. */
export const supportiveData: Experiment<typeof parameters> = {
  name: "supportive-data",
  title: "Supportive pretraining data: sequences whose gradients help in context",
  description:
    "A transformer learns a toy language, with words that copy, for a while. New sequences of it are ordered by the cosine of their gradients with the " +
    "gradient of the loss on copies, and training goes on with the top share, the bottom share and a random one.",
  source: HAN,
  trials:
    "Five settings of other seeds (100, 101) were tried; the first training was cut to 60 steps by them. In none " +
    "was the top share better than a random one, so that `top-helps` was expected to fail. `top-over-bottom` was " +
    "added after these trials; the other thresholds were written before them.",
  parameters,
  presets: {
    quick: {},
    full: {
      ...{ seeds: [0, 1, 2, 3, 4, 5, 6, 7], steps: 1500, tuning_steps: 1000, sequences: 16_384, share: 0.05, context: 128 },
      ...{ vocabulary: 512, n_layers: 4, n_heads: 4, d_model: 128, evaluation_rows: 2048 },
    },
  },
  claims,
  stages: (params) => [
    trainingStage(basePlan(params), params.seeds),
    { label: GRADIENTS, work: GRADIENT * params.sequences * params.n_layers * params.seeds.length },
    ...params.seeds.flatMap((seed) =>
      CHOICES.map((choice) => trainingStage(tuningPlan(params, { seed, choice, chosen: [] }), [seed])),
    ),
  ],
  async run(params, context) {
    context.check(basePlan(params), params.seeds);
    context.check(tuningPlan(params, { seed: 0, choice: "top", chosen: [] }), [0]);
    const runs = await context.train(basePlan(params), params.seeds);
    const pools = await context.measure(runs.map((run) => poolPlan(params, run)));
    const outcomes: Outcome[] = [];
    for (const [s, run] of runs.entries()) outcomes.push(await outcome(params, run, pools[s]!, context));
    const guess = 1 / (params.vocabulary - 1);
    return {
      claims: judge(outcomes.map(({ result }) => result), guess),
      figures: [tuningFigure(outcomes, guess), cosinesFigure(pools, params.sequences)],
    };
  },
}; // biome-ignore format: long lines of one call
