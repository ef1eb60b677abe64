import { z } from "zod";
import type { Random } from "../../backend/common/random.ts";
import { impossible } from "../base.ts";
import { centredFamily, evenMixture, type FunctionFamily, monomialBasis } from "./family.ts";
import { familyTask } from "./family-task.ts";

const parameters = z.object({
  dimension: z.int().min(2).max(32).default(3).describe("numbers of an x"),
  terms: z.int().min(1).max(64).default(2).describe("monomials of a basis"),
  bases: z.int().min(1).max(256).default(4).describe("bases of training, drawn once a run; each function is of one of them"),
  examples: z.int().min(2).max(1024).default(12).describe("pairs x, y of a sequence; the last y is only predicted"),
  sigma: z.number().positive().default(0.5).describe("standard deviation of the noise of y"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** Products of two numbers of x: places i ≤ j of both. */
function products(d: number): [number, number][] {
  return Array.from({ length: d }, (_, i) => Array.from({ length: d - i }, (__, j): [number, number] => [i, i + j])).flat();
} // biome-ignore format: one line

const monomialCount = (d: number): number => (d * (d + 1)) / 2;

/** Different bases, and one more behind them that training never shows. */
function drawBases(params: Params, random: Random): FunctionFamily[] {
  const all = products(params.dimension);
  const drawn = new Map<string, FunctionFamily>();
  while (drawn.size < params.bases + 1) {
    const places = random
      .permutation(all.length)
      .slice(0, params.terms)
      .sort((a, b) => a - b);
    const pairs = places.map((place) => all[place]!);
    const name = pairs.map(([i, j]) => `x${i + 1} x${j + 1}`).join(" + ");
    drawn.set(name, centredFamily(name, monomialBasis(pairs), { tau: 1, sigma: params.sigma }));
  }
  return [...drawn.values()];
}

/** Subsets of a size. */
function subsets(of: number, size: number): number {
  let count = 1;
  for (let i = 1; i <= size; i++) count = (count * (of - size + i)) / i;
  return Math.round(count);
}

/** Mean of y²: a square of a standard normal number has the second moment 3, one of the d of them; a product of two has 1. */
const power = ({ dimension: d, terms, sigma }: Params): number => terms * (1 + 2 * (d / monomialCount(d))) + sigma ** 2;

/** Sums of a few monomials of degree 2, in context. */
export const monomials = familyTask({
  name: "monomials",
  title: "Monomials of degree 2 in context",
  description:
    "Pairs x, y where y is a sum of a few products of two numbers of x, with weights drawn anew for every row, and noise. The sets of products " +
    "are drawn once a run; each row has one of them. The reference weighs the sets by their evidence.",
  source: "Ahuja et al. 2024, In-Context Learning through the Bayesian Prism",
  parameters,
  dimension: ({ dimension }) => dimension,
  check(params) {
    const { terms, bases, dimension } = params;
    const count = monomialCount(dimension);
    if (terms >= count)
      throw impossible(
        "monomials",
        ["terms", "dimension"],
        `terms ${terms} is not less than the ${count} monomials of dimension ${dimension}`,
        `give at most ${count - 1}`,
      );
    const sets = subsets(count, terms);
    if (bases >= sets)
      throw impossible(
        "monomials",
        ["bases", "terms", "dimension"],
        `bases ${bases} leaves none of the ${sets} sets of ${terms} monomials for evaluation`,
        `give at most ${sets - 1}`,
      );
  },
  mixtures(params, random) {
    const bases = drawBases(params, random);
    return { training: evenMixture(bases.slice(0, -1)), beyond: evenMixture(bases.slice(-1)) };
  },
  evaluations: {
    "in-context": { title: "sums of the monomials of a learned set", power },
    beyond: { title: "sums of the monomials of a set that training never shows", mixture: "beyond", power },
  },
  defaults: {
    model: { n_layers: 4, n_heads: 4, d_model: 64, attn_only: false, act_fn: "gelu" },
    training: { steps: 5000, learning_rate: 1e-3, batch: 64, clip: 1 },
  },
});
