import { z } from "zod";
import { seedList, type TrainingPlan } from "../base.ts";
import { CORPORA, CORPUS_NAMES } from "./corpora.ts";

/** Parameters of attention-sink-emergence. */
export const sinkParameters = z.object({
  corpus: z.enum(CORPUS_NAMES).default("bigrams").describe("language that is learned"),
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of each setting, trained together"),
  steps: z.int().min(20).default(1500).describe("optimiser steps of each setting"),
  points: z.int().min(5).default(24).describe("log-spaced steps at which loss and sinks are measured"),
  batch: z.int().min(1).default(32).describe("sequences of a step"),
  learning_rate: z.number().positive().default(0.01).describe("AdamW's learning rate, of all settings but one"),
  slow: z.number().min(0).max(1).default(0.1).describe("factor on it in the setting of a low learning rate"),
  weight_decay: z.number().min(0).default(0.1).describe("AdamW's weight decay, of all settings but one"),
  strong_decay: z.number().min(0).default(0.5).describe("weight decay in the setting of more of it"),
  few_sequences: z.int().min(1).default(32).describe("unique sequences in the setting of too little data"),
  context: z.int().min(16).default(24).describe("tokens of a sequence"),
  vocabulary: z.int().min(16).default(64).describe("token ids of bigrams"),
  triggers: z.int().min(1).default(6).describe("words of bigrams behind which the word before them stands again"),
  contrast: z.number().min(0).default(1.5).describe("how far pairs of words of bigrams differ from chance"),
  n_layers: z.int().min(1).default(2).describe("layers"),
  n_heads: z.int().min(1).default(2).describe("attention heads of a layer"),
  d_head: z.int().min(1).default(32).describe("width of a head"),
  d_model: z.int().min(1).default(64).describe("width of the residual stream"),
  attn_only: z.boolean().default(true).describe("whether layers have no MLP"),
  epsilon: z.number().min(0).max(1).default(0.3).describe("importance above which a head is a sink"),
  evaluation_rows: z.int().min(16).default(64).describe("new sequences on which loss and sinks are measured"),
});
export type SinkParams = z.output<typeof sinkParameters>;

/** Settings of the experiment; all but the base differ from it in one thing. */
export const ARMS = [
  "base",
  "slow",
  "few",
  "decay",
  "moved",
  "unmarked",
  "sigmoid",
  "sigmoid-normalised",
  "key-bias",
] as const;
/** One of `ARMS`. */
export type Arm = (typeof ARMS)[number];

/** The settings in words, for figures and progress. */
export const ARM_TITLES: Readonly<Record<Arm, string>> = {
  base: "softmax, fixed token first",
  slow: "low learning rate",
  few: "few sequences",
  decay: "more weight decay",
  moved: "fixed token in the middle",
  unmarked: "no fixed token",
  sigmoid: "sigmoid",
  "sigmoid-normalised": "normalised sigmoid",
  "key-bias": "key bias",
};

/** Place at which a setting's sink is looked for. */
export function placeOf(arm: Arm, { context }: Pick<SinkParams, "context">): number {
  return arm === "moved" ? Math.floor(context / 3) : 0;
}

/** The training of a setting. */
export function armPlan(arm: Arm, params: SinkParams): TrainingPlan {
  const { steps, points, batch, learning_rate, weight_decay, context } = params;
  const corpus = CORPORA[params.corpus];
  const { n_layers, n_heads, d_head, d_model, attn_only, evaluation_rows } = params;
  const changes: Partial<Record<Arm, Readonly<Record<string, unknown>>>> = {
    slow: { learning_rate: learning_rate * params.slow },
    few: { sequences: params.few_sequences },
    decay: { weight_decay: params.strong_decay },
    moved: { marker: placeOf("moved", params) },
    unmarked: { marker: -1 },
    sigmoid: { attention: "sigmoid" },
    "sigmoid-normalised": { attention: "sigmoid-normalised" },
    "key-bias": { attention: "key-bias" },
  };
  return {
    task: corpus.task,
    label: ARM_TITLES[arm],
    params: {
      ...{ steps, points, checkpoints: points, batch, learning_rate, weight_decay, optimiser: "adamw" },
      ...{ context, ...corpus.params(params), marker: 0 },
      ...{ n_layers, n_heads, d_head, d_model, attn_only, positional_embedding_type: "standard", evaluation_rows },
      ...changes[arm],
    },
  };
}
