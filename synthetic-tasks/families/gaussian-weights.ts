import { z } from "zod";
import { evenMixture, type FunctionFamily, linearBasis } from "./family.ts";
import { familyTask } from "./family-task.ts";

const parameters = z.object({
  dimension: z.int().min(2).max(256).default(4).describe("numbers of an x"),
  distance: z.number().positive().default(3).describe("first weight of one half of the functions; the other half has its negative"),
  examples: z.int().min(2).max(1024).default(12).describe("pairs x, y of a sequence; the last y is only predicted"),
  sigma: z.number().positive().default(0.5).describe("standard deviation of the noise of y"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** w = (first, N(0, 1), …). */
function linear(name: string, first: number, { dimension: d, sigma }: Params): FunctionFamily {
  const mean = new Float64Array(d);
  mean[0] = first;
  const deviation = new Float64Array(d).fill(1);
  deviation[0] = 0;
  return { name, basis: linearBasis(d), mean, deviation, sigma };
}

const power = (first: number, { dimension, sigma }: Params): number => first ** 2 + dimension - 1 + sigma ** 2;

/** Linear functions whose weights are of two Gaussians, in context. */
export const gaussianWeights = familyTask({
  name: "gaussian-weights",
  title: "Linear functions of two Gaussians in context",
  description:
    "Pairs x, y with y = w · x + noise: the first weight is plus or minus a fixed number, the others are standard normal, all drawn anew for " +
    "every row. At each x a model predicts y from the pairs before it. The reference weighs both Gaussians by their evidence.",
  source: "Ahuja et al. 2024, In-Context Learning through the Bayesian Prism",
  parameters,
  dimension: ({ dimension }) => dimension,
  mixtures: (params) => ({
    training: evenMixture([linear("first weight positive", params.distance, params), linear("first weight negative", -params.distance, params)]),
    beyond: evenMixture([linear("first weight 0", 0, params)]),
  }),
  evaluations: {
    "in-context": { title: "functions of both Gaussians", power: (params) => power(params.distance, params) },
    beyond: {
      title: "functions whose first weight is 0, which training never shows",
      mixture: "beyond",
      power: (params) => power(0, params),
    },
  },
  defaults: {
    model: { n_layers: 4, n_heads: 4, d_model: 64, attn_only: false, act_fn: "gelu" },
    training: { steps: 5000, learning_rate: 1e-3, batch: 64, clip: 1 },
  },
}); // biome-ignore format: a family a line
