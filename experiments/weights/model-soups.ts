import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import type { Soup } from "../../backend/jobs/soup.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import {
  type ClaimResult,
  type ClaimStatement,
  type Experiment,
  type ExperimentContext,
  lastCheckpoint,
  seedList,
  type TrainedRun,
} from "../base.ts";
import { levelLine, mean } from "../curves.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";

const TASK = "linear-regression";
const LOSS = "in-context.loss";
const WORTSMAN =
  "Wortsman et al. 2022, Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time";
/** Share by which a soup's loss may be above the best run's and still be at least as good: the noise of the choice. */
const TOLERANCE = 0.005;
/** Least factor of the loss of a mean over unrelated runs above the runs' own that counts as no soup at all. */
const RUINED = 2;

const parameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of the first training, each with fine-tuned runs of its own"),
  steps: z.int().min(100).default(1000).describe("optimiser steps of the first training"),
  tuning_steps: z.int().min(20).default(250).describe("optimiser steps of a fine-tuned run"),
  learning_rates: z.array(z.number().positive()).min(1).default([1e-3, 3e-3]).describe("learning rates of fine-tuned runs"),
  orders: z.int().min(1).max(20).default(3).describe("fine-tuned runs of each learning rate, each with batches of its own"),
  dimension: z.int().min(1).default(5).describe("numbers of an x"),
  examples: z.int().min(2).default(11).describe("pairs of a sequence"),
  sigma: z.number().min(0).default(0.25).describe("noise of the first training"),
  tuned_sigma: z.number().min(0).default(1).describe("noise that the runs are fine-tuned to"),
  n_layers: z.int().min(1).default(2).describe("layers"),
  d_model: z.int().min(4).default(32).describe("width of the residual stream, a multiple of 4"),
  batch: z.int().min(1).default(32).describe("sequences of a step"),
  learning_rate: z.number().positive().default(2e-3).describe("learning rate of the first training"),
  evaluation_rows: z.int().min(64).default(2048).describe("sequences on which runs and soups are compared"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const claims: readonly ClaimStatement[] = [
  {
    id: "greedy",
    statement: "A greedy soup of fine-tuned runs is at least as good as the best of them.",
    source: `${WORTSMAN}, section 3`,
    check:
      "Chosen on sequences of its own, its loss on the test sequences is at most " +
      `${100 * TOLERANCE} % above that of the run that is best on the sequences of the choice, ${QUORUM_WORDS}.`,
  },
  {
    id: "uniform",
    statement: "A uniform soup is at least as good as the best run.",
    source: `${WORTSMAN}, section 3 (of runs with sensible hyperparameters)`,
    check: `As for the greedy soup, with the mean of all runs, ${QUORUM_WORDS}.`,
  },
  {
    id: "above-average",
    statement: "A uniform soup is better than its runs are on average.",
    source: `${WORTSMAN}, section 4`,
    check: `Its loss on the test sequences is below the mean of its runs' losses, ${QUORUM_WORDS}.`,
  },
  {
    id: "one-origin",
    statement: "Runs that began with different weights have no soup.",
    source: `${WORTSMAN}, section 2; Neyshabur et al. 2020, What is being transferred in transfer learning?`,
    check: `The mean of two first trainings, of a seed and of the next, has at least ${RUINED} times the mean of their losses, ${QUORUM_WORDS}.`,
  },
]; // biome-ignore format: sentences

/** Losses on the test sequences of what one first training led to. */
interface Outcome {
  /** Of every fine-tuned run. */
  readonly runs: readonly number[];
  /** Of the run that is best on the sequences of the choice. */
  readonly best: number;
  readonly uniform: number;
  readonly greedy: number;
  /** Runs in the greedy soup. */
  readonly chosen: number;
  /** The mean of this first training and the next seed's, and the mean of their own losses. */
  readonly unrelated: { readonly soup: number; readonly own: number };
}

/** Decides the claims. @param seeds one each */
export function judge(seeds: readonly Outcome[]): ClaimResult[] {
  const good = (loss: number, best: number) => loss <= (1 + TOLERANCE) * best;
  const losses = (name: "uniform" | "greedy" | "best") => mean(seeds.map((seed) => seed[name]));
  const ratio = (name: "uniform" | "greedy") => Math.max(...seeds.map((seed) => seed[name] / seed.best));
  return [
    {
      id: "greedy",
      measured: {
        "loss of the greedy soup, mean": losses("greedy"),
        "loss of the best run, mean": losses("best"),
        "largest ratio": ratio("greedy"),
        "runs in the soup, mean": mean(seeds.map(({ chosen }) => chosen)),
      },
      ...vote(seeds.map(({ greedy, best }) => good(greedy, best)), "the greedy soup is at least as good", ""),
    },
    {
      id: "uniform",
      measured: {
        "loss of the uniform soup, mean": losses("uniform"),
        "loss of the best run, mean": losses("best"),
        "largest ratio": ratio("uniform"),
      },
      ...vote(seeds.map(({ uniform, best }) => good(uniform, best)), "the uniform soup is at least as good", ""),
    },
    {
      id: "above-average",
      measured: {
        "loss of the uniform soup, mean": losses("uniform"),
        "loss of its runs, mean": mean(seeds.map(({ runs }) => mean(runs))),
      },
      ...vote(seeds.map(({ uniform, runs }) => uniform < mean(runs)), "the uniform soup is below its runs' mean", ""),
    },
    {
      id: "one-origin",
      measured: {
        "loss of the mean of two first trainings, mean": mean(seeds.map(({ unrelated }) => unrelated.soup)),
        "their own loss, mean": mean(seeds.map(({ unrelated }) => unrelated.own)),
      },
      ...vote(
        seeds.map(({ unrelated: { soup, own } }) => soup >= RUINED * own),
        "the mean of unrelated runs is ruined",
        "",
      ),
    },
  ];
} // biome-ignore format: a claim a block

function modelOf({ n_layers, d_model }: Params) {
  return { n_layers, n_heads: 4, d_model, attn_only: false, act_fn: "gelu" };
}

function firstPlan(params: Params) {
  const { dimension, examples, sigma, steps, batch, learning_rate, evaluation_rows } = params;
  const training = { steps, batch, learning_rate, clip: 1, points: 20, checkpoints: 1, extra_checkpoints: 0 };
  return {
    task: TASK,
    params: { dimension, examples, sigma, ...modelOf(params), ...training, evaluation_rows },
    label: "first training",
  };
}

/** @param from the checkpoint to begin with; absent only where the plan is checked */
function tuningPlan(params: Params, { seed, rate, from }: { seed: number; rate: number; from?: string }) {
  const { tuned_sigma: sigma, tuning_steps: steps } = params;
  const { task, params: first } = firstPlan(params);
  return {
    task,
    params: { ...first, sigma, steps, points: 2, learning_rate: rate, ...(from === undefined ? {} : { from }) },
    label: `fine-tuning of seed ${seed} at ${rate}`,
  };
}

/** Seeds of the batches of fine-tuned runs, apart from those of first trainings and of one another. */
function orderSeeds({ orders, learning_rates }: Params, seed: number, rate: number): number[] {
  const first = 1000 * (seed + 1) + 100 * learning_rates.indexOf(rate);
  return Array.from({ length: orders }, (_, i) => first + i);
}

/** Fine-tunes a first training and makes the soups. @param other first training of another seed */
async function outcome(
  params: Params,
  [first, other]: readonly [TrainedRun, TrainedRun],
  { train, soup, signal }: ExperimentContext,
): Promise<Outcome> {
  const runs: TrainedRun[] = [];
  for (const rate of params.learning_rates) {
    const plan = tuningPlan(params, { seed: first.seed, rate, from: lastCheckpoint(first) });
    runs.push(...(await train(plan, orderSeeds(params, first.seed, rate))));
  }
  signal.throwIfAborted();
  const lossOf = ({ metrics }: Pick<Soup, "metrics">): number => metrics[LOSS]!;
  const uniform = await soup(runs, { method: "uniform", metric: LOSS });
  const greedy = await soup(runs, { method: "greedy", metric: LOSS });
  const unrelated = await soup([first, other], { method: "uniform", metric: LOSS });
  const best = uniform.members.reduce((a, b) => (b.value < a.value ? b : a));
  return {
    runs: uniform.members.map(lossOf),
    ...{ best: lossOf(best), uniform: lossOf(uniform), greedy: lossOf(greedy) },
    chosen: greedy.members.filter(({ chosen }) => chosen).length,
    unrelated: { soup: lossOf(unrelated), own: mean(unrelated.members.map(lossOf)) },
  };
}

/** Losses by seed of the first training. @param guess loss of answering 0 @param noise variance of the noise, which no prediction gets below */
function soupFigure(
  seeds: readonly number[],
  outcomes: readonly Outcome[],
  { guess, noise }: { guess: number; noise: number },
): LineFigure {
  const x = [...seeds];
  const line = (name: string, y: number[]) => ({ name, x, y, points: true, joined: false });
  const level = (name: string, value: number) => levelLine(name, x, value);
  const runs = outcomes[0]!.runs.map((_, i) => line(`run ${i + 1}`, outcomes.map((o) => o.runs[i]!)));
  return {
    kind: "lines",
    name: "soups",
    title: "Fine-tuned runs and their soups",
    caption: "Loss on the test sequences, by seed of the first training.",
    x: { title: "seed", whole: true },
    y: { title: "mean squared error", log: true },
    lines: [
      ...runs,
      line("uniform soup", outcomes.map(({ uniform }) => uniform)),
      line("greedy soup", outcomes.map(({ greedy }) => greedy)),
      level("answering 0 (chance)", guess),
      level("variance of the noise (below any prediction)", noise),
    ],
  };
} // biome-ignore format: a line of the figure a line

/** Averages of fine-tuned runs' weights, on regression in context. */
export const modelSoups: Experiment<typeof parameters> = {
  name: "model-soups",
  title: "Model soups: averaging the weights of fine-tuned runs",
  description:
    "Transformers learn linear regression in context with little noise and are fine-tuned to more of it, at several learning rates and " +
    "orders of the data. The weights of the runs from one origin are averaged, all of them or greedily, and the means are compared with the runs.",
  source: WORTSMAN,
  trials:
    "Nothing was tried: sizes and steps were set for the time, thresholds before the run, and neither was changed " +
    "after it.",
  parameters,
  presets: {
    quick: {},
    full: {
      ...{
        steps: 20_000,
        tuning_steps: 3000,
        learning_rates: [3e-4, 1e-3, 3e-3],
        orders: 4,
        dimension: 8,
        examples: 20,
      },
      ...{ n_layers: 4, d_model: 64, batch: 64, learning_rate: 1e-3, evaluation_rows: 4096 },
    },
  },
  claims,
  stages(params) {
    const tuned = params.seeds.flatMap((seed) =>
      params.learning_rates.map((rate) =>
        trainingStage(tuningPlan(params, { seed, rate }), orderSeeds(params, seed, rate)),
      ),
    );
    return [trainingStage(firstPlan(params), params.seeds), ...tuned];
  },
  async run(params, context) {
    const { seeds } = params;
    context.check(firstPlan(params), seeds);
    context.check(tuningPlan(params, { seed: 0, rate: params.learning_rates[0]! }), seeds);
    const first = await context.train(firstPlan(params), seeds);
    const outcomes: Outcome[] = [];
    for (const [i, run] of first.entries())
      outcomes.push(await outcome(params, [run, first[(i + 1) % first.length]!], context));
    const { dimension, tuned_sigma } = params;
    const own = tasks.parse(TASK, { dimension, sigma: tuned_sigma });
    const guess = tasks.get(TASK).evaluations["in-context"]!.chance!(own).loss!;
    return { claims: judge(outcomes), figures: [soupFigure(seeds, outcomes, { guess, noise: tuned_sigma ** 2 })] };
  },
};
