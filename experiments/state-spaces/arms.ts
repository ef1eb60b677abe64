import { z } from "zod";
import type { MixerName } from "../../backend/common/words.ts";
import { seedList, type TrainingPlan } from "../base.ts";

/** Parameters of state-spaces. */
export const stateParameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of each setting, trained together"),
  steps: z.int().min(20).default(500).describe("optimiser steps of each recurrence"),
  attention_steps: z.int().min(20).default(1500).describe("optimiser steps of attention, which stays at guessing among the values for long"),
  states: z.array(z.int().min(1)).min(2).default([2, 16]).refine((states) => states.every((state, i) => i === 0 || state > states[i - 1]!), "give rising sizes").describe("sizes of the recurrences' states, rising"),
  length_max: z.int().min(2).default(12).describe("letters of the longest string that is copied in training"),
  longer: z.int().min(2).default(16).describe("letters of the strings on which copying is asked for beyond training"),
  letters: z.int().min(4).default(32).describe("token ids of the copied strings"),
  pairs: z.int().min(2).default(8).describe("keys with values of the recall that is trained"),
  recall_context: z.int().min(8).default(40).describe("tokens of a sequence of recall"),
  recall_vocabulary: z.int().min(8).default(64).describe("token ids of recall"),
  n_layers: z.int().min(1).default(1).describe("layers of a recurrence, whose convolution joins a token with those before it"),
  attention_layers: z.int().min(1).default(2).describe("layers of attention, which needs two for that"),
  n_heads: z.int().min(1).default(2).describe("heads of a layer"),
  d_model: z.int().min(4).default(32).describe("width of the residual stream"),
  batch: z.int().min(1).default(16).describe("sequences of a step"),
  learning_rate: z.number().positive().default(0.01).describe("Adam's learning rate for recurrences"),
  attention_rate: z.number().positive().default(0.005).describe("Adam's learning rate for attention"),
  evaluation_rows: z.int().min(16).default(128).describe("sequences of each length or number of pairs on which accuracy is measured"),
}); // biome-ignore format: a table
export type StateParams = z.output<typeof stateParameters>;

/** A model that is compared: a mixer in all layers, and of a recurrence the size of its state. */
export interface Arm {
  readonly mixer: MixerName;
  readonly state?: number;
}

/** The recurrences that are compared. */
export const RECURRENCES = ["linear-recurrence", "selective"] as const satisfies readonly MixerName[];
export type Recurrence = (typeof RECURRENCES)[number];

/** The tasks that are trained. */
export const TASKS = ["copy", "associative-recall"] as const;
export type StateTask = (typeof TASKS)[number];

/** Attention, then each recurrence by rising size of its state. */
export function armsOf({ states }: Pick<StateParams, "states">): Arm[] {
  return [{ mixer: "attention" }, ...RECURRENCES.flatMap((mixer) => states.map((state) => ({ mixer, state })))];
}

/** "selective, state 8". */
export function armTitle({ mixer, state }: Arm): string {
  return state === undefined ? mixer : `${mixer}, state ${state}`;
}

/** The training of an arm on a task. */
export function planOf(task: StateTask, arm: Arm, params: StateParams): TrainingPlan {
  const { n_heads, d_model, batch } = params;
  const own =
    task === "copy"
      ? { context: 2 * params.longer + 1, vocabulary: params.letters, length_max: params.length_max }
      : { context: params.recall_context, vocabulary: params.recall_vocabulary, pairs: params.pairs, power: 1 };
  const { mixer, state } = arm;
  const size =
    mixer === "attention"
      ? { n_layers: params.attention_layers, steps: params.attention_steps, learning_rate: params.attention_rate }
      : { n_layers: params.n_layers, steps: params.steps, learning_rate: params.learning_rate };
  const model = { ...size, n_heads, d_model, ...(state === undefined ? {} : { mixer: [mixer], state }) };
  const training = { batch, clip: 1, schedule: "cosine", points: 2, checkpoints: 1, extra_checkpoints: 0 };
  return { task, params: { ...own, ...model, ...training }, label: `${task}: ${armTitle(arm)}` };
} // biome-ignore format: one line each
