import { z } from "zod";
import { MixturePosterior } from "../../synthetic-tasks/families/posterior.ts";
import { seedList, type TrainedRun } from "../base.ts";
import { type PromptPredictor, worldOf } from "./compare.ts";

/** The task whose prompts are of fixed and of fresh weights. */
export const TASK = "discrete-weights";
/** Best predictor for fresh weights. */
export const RIDGE = "ridge regression";
/** Best predictor for fixed ones. */
export const DISCRETE = "posterior mean over the fixed weights (dMMSE)";
/** Least rise of the error on fresh weights, over the mean of y², that counts as forgetting. */
export const FORGOTTEN = 0.1;
/** Work of comparing one model, in optimiser steps of one layer. */
export const MEASURING = 60;

/** Parameters of a training on both kinds of prompts and of a fine-tuning on fixed weights. */
export const tuningParameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of the first training, each with fixed weights of its own"),
  steps: z.int().min(100).default(2000).describe("optimiser steps of the first training, on both kinds of prompts"),
  tuning_steps: z.int().min(20).default(400).describe("optimiser steps of the fine-tuning, on fixed weights alone"),
  dimension: z.int().min(1).default(4).describe("numbers of an x"),
  tasks: z.int().min(1).default(8).describe("fixed weights"),
  share: z.number().gt(0).lt(1).default(0.5).describe("share of the prompts of fixed weights in the first training"),
  examples: z.int().min(4).default(12).describe("pairs of a sequence; the last y is only predicted"),
  sigma: z.number().positive().default(0.5).describe("standard deviation of the noise of y"),
  n_layers: z.int().min(1).default(3).describe("layers"),
  n_heads: z.int().min(1).default(2).describe("attention heads of a layer"),
  d_model: z.int().min(2).default(32).describe("width of the residual stream"),
  batch: z.int().min(1).default(32).describe("sequences of a step"),
  learning_rate: z.number().positive().default(4e-3).describe("largest learning rate of the first training"),
  tuning_rate: z.number().positive().default(1e-3).describe("learning rate of the fine-tuning"),
  rows: z.int().min(32).default(512).describe("prompts on which models and predictors are compared"),
}); // biome-ignore format: a table
type Params = z.output<typeof tuningParameters>;

/** Sizes near Kotha et al.'s. */
export const FULL = {
  ...{ steps: 20_000, tuning_steps: 2000, dimension: 10, tasks: 64, examples: 40, n_layers: 8, n_heads: 4, d_model: 128 },
  ...{ learning_rate: 1e-3, tuning_rate: 3e-4, rows: 1024 },
}; // biome-ignore format: sizes a line

/** The training on both kinds of prompts, which experiments of one size share. */
export function firstPlan(params: Params) {
  const { dimension, tasks, share, examples, sigma, n_layers, n_heads, d_model, steps, batch, learning_rate } = params;
  const training = { steps, batch, learning_rate, optimiser: "adam", schedule: "cosine", warmup: 100, clip: 1, points: 10, checkpoints: 2 };
  return {
    task: TASK,
    params: { dimension, tasks, share, examples, sigma, n_layers, n_heads, d_model, attn_only: false, ...training },
    label: "first training",
  };
} // biome-ignore format: one line

/** The fine-tuning on fixed weights alone, at a constant rate. @param from the checkpoint to begin with; absent only where the plan is checked */
export function tuningPlan(params: Params, seed: number, from?: string) {
  const { tuning_steps: steps, tuning_rate: learning_rate } = params;
  const { task, params: first } = firstPlan(params);
  const training = { steps, learning_rate, schedule: "constant", warmup: 0, points: 2 };
  return {
    task,
    params: { ...first, share: 1, ...training, ...(from === undefined ? {} : { from }) },
    label: `fine-tuning of seed ${seed}`,
  };
}

/** The two best predictors of a run's world, by name. */
export function bestPredictors(run: TrainedRun): Readonly<Record<string, PromptPredictor>> {
  const { discrete, continuous } = worldOf(TASK, run).mixtures;
  return {
    [RIDGE]: () => new MixturePosterior(continuous!),
    [DISCRETE]: () => new MixturePosterior(discrete!),
  };
}
