import { z } from "zod";
import { centredFamily, type FunctionFamily, linearBasis, type Mixture } from "./family.ts";
import { familyTask } from "./family-task.ts";

const parameters = z.object({
  dimension: z.int().min(1).max(256).default(4).describe("numbers of an x"),
  tasks: z.int().min(1).max(4096).default(8).describe("weights of the discrete functions, drawn once a run"),
  share: z.number().min(0).max(1).default(0.5).describe("share of the prompts whose function is one of these; the others' weights are drawn anew"),
  examples: z.int().min(2).max(1024).default(12).describe("pairs x, y of a sequence; the last y is only predicted"),
  sigma: z.number().positive().default(0.5).describe("standard deviation of the noise of y"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** The one function of a weight, as a family. */
function single(name: string, mean: Float64Array, { dimension: d, sigma }: Params): FunctionFamily {
  return { name, basis: linearBasis(d), mean, deviation: new Float64Array(d), sigma };
}

/** Both parts with their shares; one without a share is left out. */
const mixed = (discrete: Mixture, continuous: Mixture, share: number): Mixture =>
  [
    ...discrete.map(({ family, share: own }) => ({ family, share: share * own })),
    ...continuous.map(({ family, share: own }) => ({ family, share: (1 - share) * own })),
  ].filter(({ share }) => share > 0);

const power = ({ dimension, sigma }: Params): number => dimension + sigma ** 2;

/** Linear functions of few fixed weights and of fresh ones, in context. */
export const discreteWeights = familyTask({
  name: "discrete-weights",
  title: "Linear functions of fixed and of fresh weights in context",
  description:
    "Pairs x, y with y = w · x + noise. In a share of the rows w is one of a few weights that were drawn once a run, in the others it is drawn anew, " +
    "both from a standard normal law. The reference weighs ridge regression, best for fresh weights, and the posterior mean over the fixed ones (dMMSE).",
  source: "Kotha et al. 2024, Understanding Catastrophic Forgetting in Language Models via Implicit Inference",
  parameters,
  dimension: ({ dimension }) => dimension,
  mixtures(params, random) {
    const { dimension: d, tasks, share, sigma } = params;
    const discrete = Array.from({ length: tasks }, (_, t) => {
      const w = Float64Array.from({ length: d }, () => random.normal());
      return { family: single(`fixed weight ${t}`, w, params), share: 1 / tasks };
    });
    const continuous = [{ family: centredFamily("fresh weights", linearBasis(d), { tau: 1, sigma }), share: 1 }];
    return { training: mixed(discrete, continuous, share), discrete, continuous };
  },
  evaluations: {
    "in-context": { title: "prompts as in training", power },
    discrete: { title: "prompts of the fixed weights", mixture: "discrete", power },
    continuous: { title: "prompts of fresh weights", mixture: "continuous", power },
  },
  defaults: {
    model: { n_layers: 4, n_heads: 4, d_model: 64, attn_only: false, act_fn: "gelu" },
    training: { steps: 5000, learning_rate: 1e-3, batch: 64, clip: 1 },
  },
});
