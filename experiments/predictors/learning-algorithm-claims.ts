import { z } from "zod";
import type { ClaimResult, ClaimStatement } from "../base.ts";
import { mean } from "../curves.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";
import { type Contender, type Distance, LEAST_SQUARES, type LearnerDistances } from "./learner-distances.ts";

const AKYUREK = "Akyürek et al. 2023, What learning algorithm is in-context learning?";

/** Largest distance (SPD) of the largest model from its nearest learner at which that learner is called its algorithm. */
const NEAR = 0.1;
/** Share of the narrowest model's distance from least squares that may be left at the widest. */
const LEFT = 0.5;
/** Largest R² of a probe of shuffled targets. */
const CONTROL = 0.1;
/** Factor between neighbouring penalties that noisy models are held against. */
export const PENALTY_FACTOR = 4;

const FULL = "the preset full trains larger models for longer";

/** The claims, with their checks as they were fixed before any model was held against a learner. */
export const claims: readonly ClaimStatement[] = [
  {
    id: "depth",
    statement:
      "With depth, the learner whose predictions are closest moves from a gradient step over ridge to least squares.",
    source: `${AKYUREK}, figures of depth and width`,
    check:
      "Without noise, the learner of least SPD is a gradient step or SGD at the least depth and least squares at the most, and its place on " +
      `the way (gradient step or SGD, ridge, least squares) never goes back between, ${QUORUM_WORDS}. A seed whose deepest model is further than ` +
      `${NEAR} (SPD over the variance of y) from every learner cannot say.`,
  },
  {
    id: "depth-weights",
    statement:
      "The weights that the predictions imply tell the same: with depth they come closer to those of least squares.",
    source: `${AKYUREK}, figures of depth and width`,
    check:
      "Without noise, ILWD to least squares falls from each depth to the next, and at the most it is the least of all learners', " +
      `${QUORUM_WORDS}. A seed whose deepest model is further than ${NEAR} from every learner cannot say.`,
  },
  {
    id: "width",
    statement: "Width does what depth does: wide models are closest to least squares.",
    source: `${AKYUREK}, figures of depth and width`,
    check:
      "Without noise and at the most depth, the closest learner's place on the way never goes back with width, and the SPD to least " +
      `squares at the largest width is at most ${LEFT} of that at the least, ${QUORUM_WORDS}.`,
  },
  {
    id: "noise",
    statement: "With noise, the model follows the Bayes-optimal learner: ridge regression with λ = σ²/τ².",
    source: `${AKYUREK}, figures of noise`,
    check:
      `Of all learners and of ridge with λ = σ²/τ² times 1/${PENALTY_FACTOR ** 2}, 1/${PENALTY_FACTOR}, 1, ${PENALTY_FACTOR}, ${PENALTY_FACTOR ** 2}, ` +
      `that with σ²/τ² has the least SPD at every noise, ${QUORUM_WORDS}. A seed with a model further than ${NEAR} from every learner cannot say.`,
  },
  {
    id: "decodable",
    statement:
      "The moment vector Xᵀy and the weights of least squares can be read linearly from hidden states; targets of other prompts can't.",
    source: `${AKYUREK}, probes, figure 4`,
    check:
      "In the deepest model without noise, read at the best of three places (mean over positions, last y shown, last x), both targets have a layer whose R² has an interval " +
      "above n / (n + d + 1), which is the R² that one of them gives for the other, and no layer where the probe of shuffled targets " +
      `passes ${CONTROL}, ${QUORUM_WORDS}.`,
  },
  {
    id: "moment-first",
    statement: "The moment vector is there in earlier layers than the weights.",
    source: `${AKYUREK}, probes, figure 4`,
    check:
      "The first layer at which the moment's R² passes n / (n + d + 1) lies before the first at which that of the weights does, " +
      `${QUORUM_WORDS}. A seed where they are one layer, or where one never passes, cannot say.`,
  },
];

/** One model and where it stands in the sweeps. */
export interface ModelFit extends LearnerDistances {
  readonly depth: number;
  readonly width: number;
  readonly sigma: number;
  readonly all: readonly Contender[];
}

/** R² of a layer's probe: of held-out sequences, the lower end of its interval, and of shuffled targets. */
const layerScore = z.object({ score: z.number(), low: z.number(), control: z.number() });
export type LayerScore = z.output<typeof layerScore>;

/** Schema of the scores of the two targets' probes by layer, at the best place. */
export const decodedValues = z.object({ moment: z.array(layerScore), weights: z.array(layerScore) });
/** Scores of the two targets' probes. */
export type Decoded = z.output<typeof decodedValues>;

/** Fits of one seed: depths and widths ascending, noises ascending, and the probes of its deepest model. */
export interface SeedFits {
  readonly depths: readonly ModelFit[];
  readonly widths: readonly ModelFit[];
  readonly noises: readonly ModelFit[];
  readonly decoded: Decoded;
}

/** The contender of the least distance. */
export function closest({ all, distances }: ModelFit, by: keyof Distance = "spd"): Contender {
  return all.reduce((best, one) => (distances[one.name]![by] < distances[best.name]![by] ? one : best));
}

const least = (fit: ModelFit): number => fit.distances[closest(fit).name]!.spd;
const toLeastSquares = (fit: ModelFit, by: keyof Distance): number => fit.distances[LEAST_SQUARES]![by];

/** Says that a value never falls along a list; a rank that is absent counts as a fall. */
function neverBack(ranks: readonly (number | undefined)[]): boolean {
  return ranks.every(
    (rank, i) => rank !== undefined && (i === 0 || rank >= (ranks[i - 1] ?? Number.POSITIVE_INFINITY)),
  );
}

/**
 * Decides the claims.
 * @param seeds one each @param share R² that the moment gives for the weights and they for it, n / (n + d + 1)
 * @param optimal name of the ridge with σ²/τ² by noise, ascending
 */
export function judge(seeds: readonly SeedFits[], share: number, optimal: readonly string[]): ClaimResult[] {
  return [depth(seeds), depthWeights(seeds), width(seeds), noise(seeds, optimal), decodable(seeds, share), momentFirst(seeds, share)];
} // biome-ignore format: one line

const UNCLEAR = `the deepest model is near no learner (${FULL})`;

/** Names of the closest learners along a sweep, by value: how many seeds have each. */
function closestAlong(seeds: readonly (readonly ModelFit[])[], label: (fit: ModelFit) => string, by: keyof Distance) {
  return Object.fromEntries(
    seeds[0]!.map((fit, i) => {
      const names = seeds.map((fits) => closest(fits[i]!, by).name);
      const counts = [...new Set(names)].map((name) => `${name} (${names.filter((each) => each === name).length})`);
      return [`closest at ${label(fit)}, seeds`, counts.join("; ")];
    }),
  );
}

function depth(seeds: readonly SeedFits[]): ClaimResult {
  const moves = ({ depths }: SeedFits) => {
    if (least(depths.at(-1)!) > NEAR) return undefined;
    const ranks = depths.map((fit) => closest(fit).rank);
    return neverBack(ranks) && ranks[0] === 0 && ranks.at(-1) === 2;
  };
  const all = seeds.map(({ depths }) => depths);
  return {
    id: "depth",
    measured: {
      ...closestAlong(all, (fit) => `depth ${fit.depth}`, "spd"),
      "SPD of the deepest to its closest, mean": mean(all.map((fits) => least(fits.at(-1)!))),
    },
    ...vote(seeds.map(moves), "the closest learner moves from a gradient step to least squares", UNCLEAR),
  };
}

function depthWeights(seeds: readonly SeedFits[]): ClaimResult {
  const falls = ({ depths }: SeedFits) => {
    if (least(depths.at(-1)!) > NEAR) return undefined;
    const each = depths.map((fit) => toLeastSquares(fit, "ilwd"));
    return neverBack(each.map((value) => -value)) && closest(depths.at(-1)!, "ilwd").name === LEAST_SQUARES;
  };
  const all = seeds.map(({ depths }) => depths);
  return {
    id: "depth-weights",
    measured: {
      ...closestAlong(all, (fit) => `depth ${fit.depth}`, "ilwd"),
      ...Object.fromEntries(
        all[0]!.map((fit, i) => [`ILWD to least squares, depth ${fit.depth}`, mean(all.map((fits) => toLeastSquares(fits[i]!, "ilwd")))]),
      ),
      "linear share of the deepest's predictions, mean": mean(all.map((fits) => fits.at(-1)!.linearity)),
    },
    ...vote(seeds.map(falls), "implied weights come closer to least squares, and end closest to it", UNCLEAR),
  }; // biome-ignore format: one line
}

function width(seeds: readonly SeedFits[]): ClaimResult {
  const moves = ({ widths }: SeedFits) =>
    neverBack(widths.map((fit) => closest(fit).rank)) &&
    toLeastSquares(widths.at(-1)!, "spd") <= LEFT * toLeastSquares(widths[0]!, "spd");
  const all = seeds.map(({ widths }) => widths);
  return {
    id: "width",
    measured: {
      ...closestAlong(all, (fit) => `width ${fit.width}`, "spd"),
      ...Object.fromEntries(
        [0, all[0]!.length - 1].map((i) => [`SPD to least squares, width ${all[0]![i]!.width}`, mean(all.map((fits) => toLeastSquares(fits[i]!, "spd")))]),
      ),
    },
    ...vote(seeds.map(moves), "wide models are closer to least squares", ""),
  }; // biome-ignore format: one line
}

function noise(seeds: readonly SeedFits[], optimal: readonly string[]): ClaimResult {
  const follows = ({ noises }: SeedFits) => {
    if (noises.some((fit) => least(fit) > NEAR)) return undefined;
    return noises.every((fit, i) => closest(fit).name === optimal[i]);
  };
  const all = seeds.map(({ noises }) => noises);
  return {
    id: "noise",
    measured: {
      ...closestAlong(all, (fit) => `σ ${fit.sigma}`, "spd"),
      ...Object.fromEntries(
        all[0]!.map((fit, i) => [`SPD to ridge with σ²/τ², σ ${fit.sigma}, mean`, mean(all.map((fits) => fits[i]!.distances[optimal[i]!]!.spd))]),
      ),
    },
    ...vote(seeds.map(follows), "the closest learner is ridge with σ²/τ²", `a model is near no learner (${FULL})`),
  }; // biome-ignore format: one line
}

function decodable(seeds: readonly SeedFits[], share: number): ClaimResult {
  const both = ({ decoded }: SeedFits) =>
    (["moment", "weights"] as const).every(
      (target) =>
        decoded[target].some(({ low }) => low > share) && decoded[target].every(({ control }) => control <= CONTROL),
    );
  const best = (target: keyof Decoded) => mean(seeds.map(({ decoded }) => Math.max(...decoded[target].map(({ score }) => score)))); // biome-ignore format: one line
  return {
    id: "decodable",
    measured: {
      "largest R² of the moment, mean": best("moment"),
      "largest R² of the weights, mean": best("weights"),
      "R² that one gives for the other": share,
      "largest R² of a control": Math.max(...seeds.flatMap(({ decoded }) => [...decoded.moment, ...decoded.weights].map(({ control }) => control))), // biome-ignore format: one line
    },
    ...vote(seeds.map(both), "both targets are read, and shuffled ones not", ""),
  };
}

function momentFirst(seeds: readonly SeedFits[], share: number): ClaimResult {
  const first = (layers: readonly LayerScore[]) => layers.findIndex(({ score }) => score > share);
  const places = seeds.map(({ decoded }) => ({ moment: first(decoded.moment), weights: first(decoded.weights) }));
  const order = ({ moment, weights }: { moment: number; weights: number }) =>
    moment < 0 || weights < 0 || moment === weights ? undefined : moment < weights;
  return {
    id: "moment-first",
    measured: {
      "first layers (moment, weights), by seed": places
        .map((each) => [each.moment, each.weights].map((layer) => (layer < 0 ? "–" : layer)).join(", "))
        .join("; "),
    },
    ...vote(places.map(order), "the moment comes first", `they come in one layer, or one never comes (${FULL})`),
  };
}
