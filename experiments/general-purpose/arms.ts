import { z } from "zod";
import { HeadscopeError } from "../../backend/common/errors.ts";
import { MIXERS } from "../../backend/common/words.ts";
import { keyWidth, type ModelConfig, mixerOf } from "../../backend/models/config.ts";
import { parametersOf } from "../../backend/models/weights/trainable.ts";
import { makeSpec, modelConfigOf, type TrainSpec } from "../../backend/training/spec.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import { seedList, type TrainingPlan } from "../base.ts";

export const TASK = "random-projections";

/** A list of rising numbers, so that its ends are the least and the most. */
const rising = (least: number, count: number) =>
  z
    .array(z.int().min(least))
    .min(count)
    .refine((values) => values.every((value, i) => i === 0 || value > values[i - 1]!), "give rising numbers");

/** Parameters of general-purpose-icl. */
export const generalParameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of each setting, trained together, each with a base set of its own"),
  steps: z.int().min(100).default(1000).describe("optimiser steps of every transformer"),
  recurrent_steps: z.int().min(20).default(800).describe("optimiser steps of every recurrence"),
  task_counts: rising(1, 3).default([8, 512, 65536]).describe("tasks of training, rising; the middle one is for identifying"),
  widths: rising(4, 2).default([8, 32]).describe("widths of the residual stream, rising"),
  classes: z.int().min(2).default(4).describe("classes of the base set"),
  items: z.int().min(1).default(64).describe("items of a class in training"),
  dimension: z.int().min(1).default(8).describe("numbers of an item"),
  epsilon: z.number().positive().default(0.3).describe("spread of a class's items"),
  examples: z.int().min(2).default(16).describe("items of a sequence"),
  n_layers: z.int().min(1).default(2).describe("layers"),
  n_heads: z.int().min(1).default(2).describe("heads of a layer"),
  batch: z.int().min(1).default(64).describe("sequences of a step"),
  large_batch: z.int().min(2).default(192).describe("sequences of a step where the batch is large"),
  biased: z.number().gt(0).lt(1).default(0.5).describe("share of the sequences whose labels are in one order where the data is biased"),
  mixer: z.enum(MIXERS).exclude(["attention"]).default("linear-recurrence").describe("recurrence whose state is changed"),
  states: z.tuple([z.int().min(1), z.int().min(2)]).refine(([small, large]) => large > small, "give the smaller first").default([1, 8]).describe("sizes of the recurrence's state that are compared at equal numbers of parameters"),
  recurrent_mlp: z.int().min(2).default(64).describe("width of the MLPs of the recurrence with the smaller state"),
  parameter_factor: z.int().min(2).default(4).describe("MLPs of the recurrence with more parameters are so many times as wide"),
  learning_rate: z.number().positive().default(3e-3).describe("Adam's learning rate for transformers"),
  recurrent_rate: z.number().positive().default(5e-3).describe("Adam's learning rate for recurrences"),
  points: z.int().min(10).default(26).describe("steps at which accuracies are measured, evenly spaced"),
  evaluation_rows: z.int().min(64).default(256).describe("sequences of each evaluation"),
}); // biome-ignore format: a table
export type GeneralParams = z.output<typeof generalParameters>;

/** The largest of rising numbers. */
const most = (values: readonly number[]): number => values.at(-1)!;

/** The part of a plan that all settings share. */
function shared(params: GeneralParams): Record<string, unknown> {
  const { classes, items, dimension, epsilon, examples, n_layers, n_heads, points, evaluation_rows } = params;
  const training = { clip: 1, points, spacing: "linear", checkpoints: 1, extra_checkpoints: 0, evaluation_rows };
  const data = { tasks: most(params.task_counts), classes, items, dimension, epsilon, examples };
  return { ...data, n_layers, n_heads, d_model: most(params.widths), batch: params.batch, ...training };
}

/** A transformer of a width on a number of tasks: a cell of the phase diagram. */
export function phasePlan(params: GeneralParams, count: number, width: number): TrainingPlan {
  const { steps, learning_rate } = params;
  return {
    task: TASK,
    params: { ...shared(params), tasks: count, d_model: width, steps, learning_rate },
    label: `${count} tasks, width ${width}`,
  };
}

/** The cell of the most tasks and the widest transformer, which the other comparisons begin from. */
export const mainPlan = (params: GeneralParams): TrainingPlan =>
  phasePlan(params, most(params.task_counts), most(params.widths));

/** The changes of the main cell's training that should shorten its plateau. */
export function plateauPlans(params: GeneralParams): Readonly<Record<"batch" | "bias", TrainingPlan>> {
  const changed = (label: string, change: Record<string, unknown>): TrainingPlan => ({
    task: TASK,
    params: { ...mainPlan(params).params, ...change },
    label,
  });
  return {
    batch: changed("large batch", { batch: params.large_batch }),
    bias: changed("biased data", { unpermuted: params.biased }),
  };
}

/** Recurrences that are compared: a small state, a larger one at as many parameters, and more parameters at the small one. */
export const STATE_ARMS = ["small state", "larger state", "more parameters"] as const;
export type StateArm = (typeof STATE_ARMS)[number];

/** The trainings of the recurrences. @throws HeadscopeError (usage) where the MLPs have too few parameters to make up for the state's */
export function statePlans(params: GeneralParams): Readonly<Record<StateArm, TrainingPlan>> {
  const { recurrent_mlp, parameter_factor, recurrent_steps: steps, recurrent_rate: learning_rate } = params;
  const [small, large] = params.states;
  const plan = (label: string, state: number, d_mlp: number): TrainingPlan => ({
    task: TASK,
    params: { ...shared(params), mixer: [params.mixer], state, d_mlp, attn_only: false, steps, learning_rate },
    label,
  });
  const count = (state: number, d_mlp: number) => sizeOf(plan("", state, d_mlp)).parameters;
  const perUnit = count(small, recurrent_mlp + 1) - count(small, recurrent_mlp);
  const narrower = Math.round((count(large, recurrent_mlp) - count(small, recurrent_mlp)) / perUnit);
  if (narrower >= recurrent_mlp)
    throw new HeadscopeError(
      "usage",
      `general-purpose-icl: a state of ${large} takes as many parameters more than one of ${small} as MLPs of width ${narrower} have, and recurrent_mlp is ${recurrent_mlp}`,
      { remedy: `give recurrent_mlp ${narrower + 1} or more, or states that are closer`, field: ["recurrent_mlp", "states"] },
    );
  return {
    "small state": plan("small state", small, recurrent_mlp),
    "larger state": plan("larger state", large, recurrent_mlp - narrower),
    "more parameters": plan("more parameters", small, parameter_factor * recurrent_mlp),
  };
} // biome-ignore format: one line each

/** Numbers of a model. */
export interface ModelSize {
  /** Trainable ones. */
  readonly parameters: number;
  /** Those that the last prediction of a sequence can read of what came before. */
  readonly state: number;
}

/** The sizes of the model that a plan trains. */
export function sizeOf(plan: TrainingPlan): ModelSize {
  const spec: TrainSpec = makeSpec(tasks.get(plan.task), plan.params);
  const config = modelConfigOf(spec.model, tasks.get(plan.task).shape(spec.params));
  return { parameters: parametersOf(config), state: stateOf(config) };
}

/**
 * Keys and values of all tokens of attention; of a recurrence the state of each head, and what its convolution holds of the
 * three tokens before.
 */
function stateOf(config: ModelConfig): number {
  const { n_layers, n_heads, d_head, n_ctx } = config;
  const layers = Array.from({ length: n_layers }, (_, layer) => {
    const keys = keyWidth(config, layer);
    return mixerOf(config, layer) === "attention" ? n_ctx * 2 * d_head : keys * d_head + 3 * (2 * keys + d_head);
  });
  return n_heads * layers.reduce((sum, head) => sum + head, 0);
}

/** Everything that is trained, the phase diagram first. */
export function allPlans(params: GeneralParams): TrainingPlan[] {
  const cells = params.task_counts.flatMap((count) => params.widths.map((width) => phasePlan(params, count, width)));
  return [...cells, ...Object.values(plateauPlans(params)), ...Object.values(statePlans(params))];
}
