import { z } from "zod";
import { HeadscopeError } from "../../backend/common/errors.ts";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { referenceLevels } from "../../backend/training/evaluations.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import type { Experiment, ExperimentContext, MeasurementPlan, TrainedRun, TrainingPlan } from "../base.ts";
import { seedList } from "../base.ts";
import { finalValue, levelLine, mean, meanCaption, meanLine } from "../curves.ts";
import { meansLine } from "../intervals.ts";
import { trainingStage } from "../progress.ts";
import { accuraciesOf, type TaskAccuracies, WAY_NAMES, WAYS } from "./answers.ts";
import { BHATIA, claims, judge, type TartSeed } from "./judge.ts";
import { EMBEDDINGS, measureTask, taskValues } from "./measure.ts";
import { TEXT_TASKS } from "./texts.ts";

const TASK = "logistic-regression";
const TEXTS = "texts";
/** Work of measuring one task of one seed, in optimiser steps of one layer. */
const MEASURING = 300;

const parameters = z.object({
  model: z.string().min(1).max(500).default("smollm2-135m").describe("reference of the language model"),
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds, each of a module, its sequences and the texts"),
  tasks: z.int().min(2).max(TEXT_TASKS.length).default(4).describe("tasks of texts: reviews, then two topics of news each"),
  shots: z.array(z.int().min(2).max(256).multipleOf(2)).min(2).default([8, 16, 32]).describe("numbers of labelled texts, ascending"),
  prompts: z.int().min(4).max(512).multipleOf(2).default(24).describe("texts of each task and seed whose label is asked for"),
  embedding: z.enum(EMBEDDINGS).default("alone").describe("prompt in which a text is embedded: it alone, or behind the other shots"),
  dimension: z.int().min(1).max(64).default(4).describe("principal components of the embeddings that the module reads"),
  tau: z.number().positive().default(10).describe("standard deviation of the weights in training"),
  steps: z.int().min(100).default(1200).describe("optimiser steps of the module"),
  n_layers: z.int().min(1).default(2).describe("layers of the module"),
  n_heads: z.int().min(1).default(4).describe("attention heads of a layer"),
  d_model: z.int().min(4).default(64).describe("width of the module's residual stream"),
  batch: z.int().min(1).default(32).describe("sequences of a step"),
  learning_rate: z.number().positive().default(3e-3).describe("Adam's largest learning rate"),
  evaluation_rows: z.int().min(64).default(512).describe("sequences of each evaluation"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

function planOf(params: Params): TrainingPlan {
  const { shots, dimension, tau, steps, batch, learning_rate, n_layers, n_heads, d_model, evaluation_rows } = params;
  const training = { steps, batch, learning_rate, schedule: "cosine", warmup: Math.min(100, steps), clip: 1, points: 15, checkpoints: 2, evaluation_rows };
  const sequences = { dimension, tau, examples: Math.max(...shots) + 1 };
  return { task: TASK, params: { ...sequences, n_layers, n_heads, d_model, attn_only: false, ...training }, label: "module" };
} // biome-ignore format: one line

/** @throws HeadscopeError (usage) for shots out of order, and for fewer than a module's dimensions need */
function checkShots({ shots, dimension }: Params): void {
  const refused = (field: string[], constraint: string, remedy: string): HeadscopeError =>
    new HeadscopeError("usage", `tart: ${constraint}`, { remedy, field });
  if (shots.some((count, c) => count <= (shots[c - 1] ?? 0)))
    throw refused(["shots"], `shots ${shots.join(", ")} do not ascend`, "give them in ascending order, each once");
  if (shots[0]! <= dimension)
    throw refused(
      ["shots", "dimension"],
      `${shots[0]} shots have ${shots[0]! - 1} principal components, fewer than dimension ${dimension}`,
      `give at least ${dimension + 1} shots, or a smaller dimension`,
    );
}

/** The measurements of all tasks, those of one task together. */
function plansOf(params: Params): MeasurementPlan<typeof taskValues>[] {
  const { model, seeds, shots, prompts, embedding } = params;
  return TEXT_TASKS.slice(0, params.tasks).flatMap((texts) =>
    seeds.map((seed) => {
      const settings = { seed, shots, prompts, embedding };
      return {
        name: "texts",
        label: TEXTS,
        model,
        settings: { texts: texts.name, ...settings, revision: 1 },
        values: taskValues,
        measure: (loaded, means) => measureTask(loaded, texts, settings, means),
      };
    }),
  );
}

/** A run's module on new synthetic sequences, beside the reference on the same ones. */
function syntheticOf({ curves, seed, taskParams }: TrainedRun, evaluation_rows: number): TartSeed["synthetic"] {
  const levels = referenceLevels(tasks.get(TASK), { params: taskParams, training: { evaluation_rows } }, seed);
  return { module: finalValue(curves.get("last.accuracy")!), reference: levels["last"]!.accuracy! };
}

/** Answers of a run's module in every task. */
async function answersOf(
  run: TrainedRun,
  values: readonly z.output<typeof taskValues>[],
  { shots }: Params,
  context: ExperimentContext,
): Promise<TaskAccuracies[]> {
  const module = await context.model(run, run.checkpoints.at(-1)!);
  try {
    const found: TaskAccuracies[] = [];
    for (const each of values) found.push(await accuraciesOf(module, each, shots));
    return found;
  } finally {
    module.dispose();
  }
}

const RANGE = { title: "accuracy", range: [0, 1] as [number, number] };

function shotsFigure(seeds: readonly TartSeed[], shots: readonly number[]): LineFigure {
  const columns = (way: (typeof WAY_NAMES)[number]) =>
    shots.map((_, c) => seeds.map(({ tasks }) => mean(tasks.map((task) => task[way][c]!))));
  return {
    kind: "lines",
    name: "shots",
    title: "Answers about texts by number of shots",
    caption: `Means over tasks, of ${seeds.length} seeds, with 95 % intervals over seeds (bootstrap).`,
    x: { title: "shots", whole: true },
    y: RANGE,
    lines: [
      ...WAY_NAMES.map((way) => meansLine(WAYS[way], shots, columns(way))),
      levelLine("chance", shots, 1 / 2),
      levelLine("ceiling", shots, 1),
    ],
  };
}

function tasksFigure(seeds: readonly TartSeed[], names: readonly string[]): LineFigure {
  const places = names.map((_, t) => t + 1);
  const columns = (way: (typeof WAY_NAMES)[number]) =>
    names.map((_, t) => seeds.map(({ tasks }) => mean(tasks[t]![way])));
  return {
    kind: "lines",
    name: "tasks",
    title: "One module over tasks",
    caption: `Means over numbers of shots, of ${seeds.length} seeds, with 95 % intervals over seeds (bootstrap). Tasks: ${names.map((name, t) => `${t + 1} ${name}`).join("; ")}.`,
    x: { title: "task", whole: true },
    y: RANGE,
    lines: [
      ...WAY_NAMES.map((way) => ({ ...meansLine(WAYS[way], places, columns(way)), joined: false })),
      levelLine("chance", places, 1 / 2),
      levelLine("ceiling", places, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line

function moduleFigure(runs: readonly TrainedRun[], seeds: readonly TartSeed[]): LineFigure {
  const curves = runs.map((run) => run.curves.get("last.accuracy")!);
  const { steps } = curves[0]!;
  return {
    kind: "lines",
    name: "module",
    title: "The module on synthetic sequences",
    caption: `Accuracy on the last point. ${meanCaption(runs.length)}`,
    x: { title: "training step" },
    y: RANGE,
    lines: [
      meanLine("module", curves),
      levelLine("logistic regression with the true prior (ceiling)", steps, mean(seeds.map(({ synthetic }) => synthetic.reference))),
      levelLine("chance", steps, 1 / 2),
    ],
  };
} // biome-ignore format: a line of the figure a line

/** A module for logistic regression in context, trained on synthetic sequences, on a language model's embeddings. */
export const tart: Experiment<typeof parameters> = {
  name: "tart",
  title: "TART: a synthetic module that reasons on a language model's embeddings",
  description:
    "A small transformer learns logistic regression in context from synthetic sequences alone. Unchanged, it reads labelled texts as principal components " +
    "of a frozen language model's embeddings, and tells the labels of others, beside the language model's own answers in context and " +
    "regressions that are fitted to each task.",
  source: BHATIA,
  trials:
    "One seed (100) of the texts was measured without a module before the thresholds were written: it was known " +
    "that reviews would count against `every-task`. Two modules were tried, one seed each, and the one of 4 numbers " +
    "taken. No threshold was changed after that.",
  parameters,
  presets: {
    quick: {},
    full: {
      ...{ tasks: TEXT_TASKS.length, shots: [18, 32, 48], prompts: 64, embedding: "leave-one-out", dimension: 16 },
      ...{ steps: 12_000, n_layers: 4, n_heads: 8, d_model: 128, batch: 64, learning_rate: 1e-3, evaluation_rows: 1024 },
    },
  },
  claims,
  stages: (params) => [
    trainingStage(planOf(params), params.seeds),
    { label: TEXTS, work: MEASURING * params.tasks * params.seeds.length },
  ],
  async run(params, context) {
    checkShots(params);
    context.check(planOf(params), params.seeds);
    const runs = await context.train(planOf(params), params.seeds);
    const values = await context.measure(plansOf(params));
    const names = TEXT_TASKS.slice(0, params.tasks).map(({ name }) => name);
    const seeds: TartSeed[] = [];
    for (const [s, run] of runs.entries()) {
      const own = names.map((_, t) => values[t * runs.length + s]!);
      seeds.push({ synthetic: syntheticOf(run, params.evaluation_rows), tasks: await answersOf(run, own, params, context) });
    }
    return {
      claims: judge(seeds, names),
      figures: [shotsFigure(seeds, params.shots), tasksFigure(seeds, names), moduleFigure(runs, seeds)],
    };
  },
}; // biome-ignore format: long lines of one call
