import { z } from "zod";
import { ATTENTION_KERNELS, MIXERS } from "../common/words.ts";
import { changeParameters } from "./changes/parameters.ts";

/** The model of a training run, in TransformerLens's terms. */
export const modelParameters = z.object({
  n_layers: z.int().min(1).max(64).default(2).describe("layers"),
  n_heads: z.int().min(1).max(64).default(4).describe("attention heads of a layer"),
  d_model: z.int().min(1).max(4096).default(64).describe("width of the residual stream"),
  d_head: z.int().min(1).optional().describe("width of a head (default: d_model / n_heads)"),
  key_heads: z.int().min(1).max(64).optional().describe("heads of keys, a divisor of n_heads (default: n_heads)"),
  value_heads: z.int().min(1).max(64).optional().describe("heads of values, a divisor of n_heads (default: n_heads)"),
  key_width: z.int().min(1).max(4096).optional().describe("numbers of a query and a key (default: d_head)"),
  value_width: z
    .int()
    .min(1)
    .max(4096)
    .optional()
    .describe("numbers of a value and of a head's output (default: d_head)"),
  d_mlp: z.int().min(1).optional().describe("width of an MLP's hidden layer (default: 4 d_model)"),
  attention: z.enum(ATTENTION_KERNELS).optional().describe("rule by which queries weigh keys (default: softmax)"),
  attention_power: z
    .int()
    .min(2)
    .max(8)
    .multipleOf(2)
    .optional()
    .describe("polynomial attention: even power of the scores (default: 2)"),
  mixer: z
    .array(z.enum(MIXERS))
    .min(1)
    .max(64)
    .optional()
    .describe("by layer, the way in which tokens read earlier ones; one for all (default: attention)"),
  state: z
    .int()
    .min(1)
    .max(1024)
    .optional()
    .describe(
      "recurrent layers: numbers of a key and a query; a head's state has as many times d_head (default: d_head)",
    ),
  attn_only: z.boolean().default(true).describe("whether blocks have no MLP"),
  act_fn: z.enum(["relu", "gelu", "gelu_new", "silu"]).default("relu").describe("activation of the MLPs"),
  normalization_type: z
    .enum(["LN", "RMS", "none"])
    .default("LN")
    .describe("normalisation before attention, MLP and output"),
  positional_embedding_type: z
    .enum(["standard", "rotary", "none"])
    .default("standard")
    .describe("learned positions, rotary ones or none"),
  readout_hidden: z
    .array(z.int().min(1))
    .default([])
    .describe("widths of ReLU layers between the last residual and the output"),
  codes: z
    .int()
    .min(2)
    .max(4096)
    .optional()
    .describe("discrete bottleneck before the readout: codes of a head (default: no bottleneck)"),
  code_heads: z
    .int()
    .min(1)
    .max(64)
    .optional()
    .describe("bottleneck: parts of the stream that have codes of their own (default: 1)"),
  soft_prompt: z
    .int()
    .min(0)
    .max(1024)
    .optional()
    .describe(
      "learned vectors before the sequence; 0 takes away those of a run that training begins from (default: none)",
    ),
  init_range: z
    .number()
    .positive()
    .default(1)
    .describe("initial weights have this standard deviation times 1 / sqrt(inputs)"),
});
export type ModelParams = z.output<typeof modelParameters>;

/** Parameters by which a run is trained, measured and saved. */
export const trainingParameters = z.object({
  steps: z.int().min(1).default(2000).describe("optimiser steps"),
  batch: z.int().min(1).default(32).describe("sequences of a step"),
  optimiser: z.enum(["adam", "adamw", "sgd"]).default("adam").describe("update rule, as PyTorch defines it"),
  learning_rate: z.number().positive().default(3e-3).describe("largest learning rate"),
  schedule: z.enum(["constant", "cosine"]).default("constant").describe("learning rate after the warm-up: constant, or half a cosine down to 0"),
  warmup: z.int().min(0).default(0).describe("steps over which the learning rate rises from 0"),
  beta1: z.number().min(0).lt(1).default(0.9).describe("Adam: decay of the first moment"),
  beta2: z.number().min(0).lt(1).default(0.999).describe("Adam: decay of the second moment"),
  adam_epsilon: z.number().positive().default(1e-8).describe("Adam: added to the root of the second moment"),
  momentum: z.number().min(0).lt(1).default(0).describe("SGD: momentum"),
  weight_decay: z.number().min(0).default(0).describe("decay of all parameters: decoupled for adamw, added to the gradient otherwise"),
  clip: z.number().min(0).default(0).describe("largest global norm of the gradient; 0 does not clip"),
  points: z.int().min(2).default(40).describe("steps at which evaluations and probes are measured"),
  checkpoints: z.int().min(1).default(12).describe("steps at which the run is saved; the last is always one"),
  extra_checkpoints: z.int().min(0).max(1000).default(0).describe("further checkpoints at most, saved at measurements where an accuracy or a best head score has moved by a tenth since the last one"),
  spacing: z.enum(["log", "linear"]).default("log").describe("how those steps are spaced"),
  evaluation_rows: z.int().min(1).default(256).describe("sequences of each evaluation"),
  from: z.string().min(1).max(200).optional().describe("run whose weights training begins with, run:ID or run:ID@step; model parameters that are not given are that run's (default: fresh weights)"),
  ...changeParameters.shape,
}); // biome-ignore format: a table
export type TrainingParams = z.output<typeof trainingParameters>;
