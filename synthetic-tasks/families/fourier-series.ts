import { z } from "zod";
import { centredFamily, evenMixture, type FunctionFamily, fourierBasis } from "./family.ts";
import { familyTask } from "./family-task.ts";

const parameters = z.object({
  degree: z.int().min(1).max(64).default(3).describe("highest frequency of training: a series has degree 1 to this, each as often"),
  half: z.number().positive().default(1).describe("half of the period; x is uniform on the whole of it"),
  examples: z.int().min(2).max(1024).default(16).describe("pairs x, y of a sequence; the last y is only predicted"),
  sigma: z.number().positive().default(0.1).describe("standard deviation of the noise of y"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const series = (degree: number, { half, sigma }: Params) =>
  centredFamily(`degree ${degree}`, fourierBasis(degree, half), { tau: 1, sigma });

/** Series of frequencies above those of training alone, as many as these. */
function above(params: Params): FunctionFamily {
  const { degree } = params;
  const both = series(2 * degree, params);
  const deviation = both.deviation.map((value, j) => (j > 2 * degree ? value : 0));
  return { ...both, name: `frequencies ${degree + 1} to ${2 * degree}`, deviation };
}

/** Mean of y² of a series: its constant has 1/4, and each frequency cos² + sin² = 1. */
const power = (degree: number, { sigma }: Params): number => 0.25 + degree + sigma ** 2;

/** Fourier series of several degrees in context. */
export const fourierSeries = familyTask({
  name: "fourier-series",
  title: "Fourier series in context",
  description:
    "Pairs x, y of a Fourier series whose degree and coefficients are drawn anew for every row: at each x a model predicts y from the " +
    "pairs before it. Low frequencies are in every series, high ones in few. The reference is the posterior mean over all degrees.",
  source: "Ahuja et al. 2024, In-Context Learning through the Bayesian Prism",
  parameters,
  dimension: () => 1,
  inputs:
    ({ half }) =>
    (random, x) => {
      random.fillUniform(x);
      for (let i = 0; i < x.length; i++) x[i] = half * (2 * x[i]! - 1);
    },
  mixtures: (params) => ({
    training: evenMixture(Array.from({ length: params.degree }, (_, k) => series(k + 1, params))),
    highest: evenMixture([series(params.degree, params)]),
    beyond: evenMixture([above(params)]),
  }),
  evaluations: {
    "in-context": {
      title: "series of every degree",
      power: (params) => power((params.degree + 1) / 2, params),
    },
    highest: {
      title: "series of the highest degree alone",
      mixture: "highest",
      power: (params) => power(params.degree, params),
    },
    beyond: {
      title: "series of higher frequencies alone, which training never shows",
      mixture: "beyond",
      power: ({ degree, sigma }) => degree + sigma ** 2,
    },
  },
  defaults: {
    model: { n_layers: 4, n_heads: 4, d_model: 64, attn_only: false, act_fn: "gelu" },
    training: { steps: 5000, learning_rate: 1e-3, batch: 64, clip: 1 },
  },
});
