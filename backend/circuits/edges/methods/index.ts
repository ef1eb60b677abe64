import { z } from "zod";
import { parseParameters } from "../../../common/definitions/parameters.ts";
import { HeadscopeError } from "../../../common/errors.ts";
import type { MetricName } from "../../../common/metrics.ts";
import type { CircuitMethod } from "../../../common/words.ts";
import type { EdgeWork, PairBatch, PairScores } from "./batch.ts";
import { type GradientRuns, gradientScores, pairsPerBatch } from "./eap.ts";
import { exactScores } from "./exact.ts";
import { gradWay } from "./grad-path.ts";
import { activationWays, inputWay } from "./ways.ts";

const steps = z.int().min(1).max(1_000).default(5);

/** Parameters of each method. */
export const circuitParameters = {
  eap: z.object({}),
  "eap-ig": z.object({
    steps: steps.describe("runs on the way from the corrupt prompt's embedding to the clean one's"),
  }),
  "eap-ig-activations": z.object({
    steps: steps.describe("runs on the way from a layer's corrupt outputs to its clean ones"),
  }),
  "eap-gp": z.object({
    steps: steps.describe("steps from the clean prompt's embedding towards the corrupt prompt's logits"),
    length: z
      .number()
      .positive()
      .max(1_000)
      .default(1)
      .describe("length of a step, over all positions; the paper's is 1, whatever the embeddings' own length"),
  }),
  exact: z.object({}),
  acdc: z.object({
    threshold: z
      .number()
      .positive()
      .default(0.01)
      .describe("change of the metric below which an edge is removed, of kl its rise; in the metric's unit"),
  }),
} as const satisfies Record<CircuitMethod, z.ZodObject>;

/** Parameters of a method, checked and complete. */
export type CircuitParameters = Readonly<Record<string, number>>;

/** A method that scores every edge by itself. */
export type ScoringMethod = Exclude<CircuitMethod, "acdc">;

/** True of methods that estimate scores from gradients: all edges from a few runs, not a run each. */
export function isEstimate(method: CircuitMethod): method is Exclude<ScoringMethod, "exact"> {
  return method.startsWith("eap");
}

/** A way of scoring edges. */
interface Scorer {
  /** Pairs of so many tokens that are scored together. */
  together(length: number, params: CircuitParameters): number;
  /** Scores by pair, in the order of the edges: the metric with the edge corrupted less the clean one, or an estimate of it. */
  score(batch: PairBatch, params: CircuitParameters, work: EdgeWork): Promise<PairScores[]>;
}

/** The methods that score edges pair by pair. */
export const SCORERS: Readonly<Record<ScoringMethod, Scorer>> = {
  eap: {
    together: (length) => pairsPerBatch(length, 1),
    score: (batch, _, work) =>
      estimates(batch, work, { ...work, shares: [1], ways: (embeds) => inputWay(batch, embeds) }),
  },
  "eap-ig": {
    together: (length, { steps }) => pairsPerBatch(length, steps!),
    score: (batch, { steps }, work) =>
      estimates(batch, work, { ...work, shares: sharesOf(steps!), ways: (embeds) => inputWay(batch, embeds) }),
  },
  "eap-ig-activations": {
    together: (length, { steps }) => pairsPerBatch(length, steps!),
    score: (batch, { steps }, work) =>
      estimates(batch, work, {
        ...work,
        shares: sharesOf(steps!),
        ways: (embeds) => activationWays(batch, embeds, work),
      }),
  },
  "eap-gp": {
    together: (length, { steps }) => pairsPerBatch(length, steps!),
    score: (batch, { steps, length }, work) => {
      // The path takes as many gradients as the scores on it.
      const path = {
        ...work,
        steps: steps!,
        length: length!,
        onStep: (done: number) => work.onShare(done / steps! / 2),
      };
      return estimates(batch, work, {
        ...work,
        onShare: (share) => work.onShare((1 + share) / 2),
        shares: sharesOf(steps!),
        ways: (embeds) => gradWay(batch, embeds, path),
      });
    },
  },
  exact: {
    together: () => 1,
    score: async (batch, _, work) => [await exactScores(batch, work)],
  },
};

/** 1 / steps to 1. */
function sharesOf(steps: number): number[] {
  return Array.from({ length: steps }, (_, k) => (k + 1) / steps);
}

/** Estimates from gradients, of which the scores asked for are kept. */
async function estimates(batch: PairBatch, { edges }: EdgeWork, runs: GradientRuns): Promise<PairScores[]> {
  const byPair = await gradientScores(batch, runs);
  if (edges.length === batch.graph.size) return byPair;
  return byPair.map(({ scores, ...rest }) => ({ ...rest, scores: Float64Array.from(edges, (e) => scores[e]!) }));
}

/** A method's parameters, checked and complete. @throws HeadscopeError (usage) for one that it lacks or a value outside its range */
export function parseCircuitParameters(
  method: CircuitMethod,
  raw: Readonly<Record<string, unknown>> = {},
): CircuitParameters {
  return parseParameters(`method ${method}`, circuitParameters[method], raw) as CircuitParameters;
}

/** @throws HeadscopeError (usage) for kl estimated on the clean run alone, where it is at its least and its gradient 0 */
export function checkGradient(method: CircuitMethod, { steps = 1 }: CircuitParameters, metric: MetricName): void {
  const onClean = isEstimate(method) && method !== "eap-gp" && steps === 1;
  if (metric !== "kl" || !onClean) return;
  throw new HeadscopeError("usage", `on the clean run the gradient of kl is 0, so ${method} scores no edge by it`, {
    remedy: "choose eap-ig with several steps, exact, or another metric",
    field: "metric",
  });
}
