import { z } from "zod";
import { impossible } from "../base.ts";
import { centredFamily, evenMixture, linearBasis } from "./family.ts";
import { familyTask } from "./family-task.ts";

const parameters = z.object({
  dimension: z.int().min(1).max(256).default(3).describe("numbers of an x"),
  levels: z.array(z.number().positive()).min(1).max(64).default([0.1, 0.3, 1]).describe("standard deviations of the noise of y; each row has one of them"),
  examples: z.int().min(2).max(1024).default(16).describe("pairs x, y of a sequence; the last y is only predicted"),
  shown: z.int().min(0).max(1024).default(0).describe("pairs whose y counts in training; 0 has all count"),
  shift: z.number().positive().default(2).describe("factor of weights, noise or x in the shifted evaluations"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const linear = ({ dimension, levels }: Params, { tau = 1, factor = 1 } = {}) =>
  evenMixture(
    levels.map((sigma) => {
      const noise = factor * sigma;
      return centredFamily(`noise ${Number(noise.toPrecision(3))}`, linearBasis(dimension), { tau, sigma: noise });
    }),
  );

/** Mean of y². @param tau deviation of weights times the scale of x @param factor of the noise */
const power = ({ dimension, levels }: Params, tau = 1, factor = 1): number =>
  dimension * tau ** 2 + levels.reduce((sum, sigma) => sum + (factor * sigma) ** 2, 0) / levels.length;

/** Linear functions with an unknown amount of noise: y and how uncertain it is, in context. */
export const noiseLevels = familyTask({
  name: "noise-levels",
  title: "Linear functions with an unknown amount of noise in context",
  description:
    "Pairs x, y with y = w · x + noise; w and the amount of noise are drawn anew for every row. At each x a model tells mean and log-variance of y, and loses " +
    "the negative logarithm of its normal density (nats). The reference has the exact mean and variance of the posterior.",
  source: "Liu et al. 2024, Towards Better Understanding of In-Context Learning Ability from In-Context Uncertainty Quantification",
  parameters,
  dimension: ({ dimension }) => dimension,
  counted: ({ shown, examples }) => shown || examples,
  output: "gaussian",
  check({ shown, examples }) {
    if (shown > examples)
      throw impossible("noise-levels", ["shown", "examples"], `shown ${shown} is more than examples ${examples}`, "count fewer");
  },
  mixtures: (params) => ({
    training: linear(params),
    weights: linear(params, { tau: params.shift }),
    noise: linear(params, { factor: params.shift }),
  }),
  evaluations: {
    "in-context": { title: "prompts as in training", power: (params) => power(params) },
    weights: { title: "weights larger than in training", mixture: "weights", power: (params) => power(params, params.shift) },
    covariates: { title: "x longer than in training", scale: ({ shift }) => shift, power: (params) => power(params, params.shift) },
    noise: { title: "noise larger than in training", mixture: "noise", power: (params) => power(params, 1, params.shift) },
  },
  defaults: {
    model: { n_layers: 4, n_heads: 4, d_model: 64, attn_only: false, act_fn: "gelu", positional_embedding_type: "rotary" },
    training: { steps: 5000, learning_rate: 1e-3, batch: 64, clip: 1 },
  },
}); // biome-ignore format: a split a line
