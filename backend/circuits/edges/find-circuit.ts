import { z } from "zod";
import { CIRCUIT_FORMAT, type Circuit } from "../../common/api/circuits.ts";
import { parseParameters } from "../../common/definitions/parameters.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { headModel } from "../../common/heads/model.ts";
import { METRICS, type MetricName } from "../../common/metrics.ts";
import { ANYTHING, checkOptions, oneOf, type Rules } from "../../common/options.ts";
import {
  CIRCUIT_METHODS,
  type CircuitMethod,
  EDGE_GROUPS,
  type EdgeGroup,
  KEPT_EDGES,
  MANY_EDGES,
} from "../../common/words.ts";
import type { Model } from "../../models/model.ts";
import { loopTurn } from "../../runtime/turn.ts";
import type { Interrupts } from "../batches.ts";
import { meanOf } from "../means.ts";
import { pairMeasure } from "../metrics/measure.ts";
import { pairDoubts, type TokenPair, tokenPairs } from "../pairs.ts";
import { namedEdges } from "./circuit-list.ts";
import { gradientScores, type PairBatch, type PairScores, pairsPerBatch } from "./eap.ts";
import { exactEffects } from "./exact.ts";
import { EdgeGraph, kindOf } from "./graph.ts";
import { checkRoom, runSources } from "./source-run.ts";
import { CIRCUIT_WORK, type CircuitWork } from "./work.ts";

/** A circuit to look for. */
export interface FindCircuitOptions extends CircuitWork {
  method: CircuitMethod;
  /** Parameters of the method by name; see `circuitParameters`. */
  params?: Readonly<Record<string, unknown>> | undefined;
  /** Edges that the result holds, those with the largest absolute scores; default all up to 5,000, and 1,000 beyond. */
  edges?: number | "all" | undefined;
  /** A circuit whose edges alone are scored. */
  edgesFrom?: unknown;
  /** Name of that circuit in errors, such as its file. */
  source?: string | undefined;
}

const OPTIONS: Rules<FindCircuitOptions> = {
  ...CIRCUIT_WORK,
  method: oneOf(CIRCUIT_METHODS),
  params: { wants: "values by name", fits: (value) => typeof value === "object" && value !== null },
  edges: {
    wants: "a whole number from 1, or all",
    fits: (n) => n === "all" || (Number.isSafeInteger(n) && (n as number) > 0),
  },
  edgesFrom: ANYTHING,
  source: ANYTHING,
};

/** Parameters of each method. */
export const circuitParameters = {
  eap: z.object({}),
  "eap-ig": z.object({
    steps: z
      .int()
      .min(1)
      .max(1_000)
      .default(5)
      .describe("runs on the way from the corrupt prompt's embedding to the clean one's"),
  }),
  exact: z.object({}),
} as const satisfies Record<CircuitMethod, z.ZodObject>;

/** Edges to score on a pair. */
export interface EdgeWork extends Interrupts {
  /** Their numbers, in any order. */
  edges: readonly number[];
  /** Called with the share of the work that is done, 0 to 1. */
  onShare(share: number): void;
}

/** A way of scoring edges. */
interface Scorer {
  /** Pairs of so many tokens that are scored together. */
  together(length: number, params: Parameters): number;
  /** Scores by pair, in the order of the edges: the metric with the edge corrupted less the clean one, or an estimate of it. */
  score(batch: PairBatch, params: Parameters, work: EdgeWork): Promise<PairScores[]>;
}

type Parameters = Readonly<Record<string, number>>;

const SCORERS: Readonly<Record<CircuitMethod, Scorer>> = {
  eap: {
    together: (length) => pairsPerBatch(length, 1),
    score: (batch, _, work) => estimates(batch, [1], work),
  },
  "eap-ig": {
    together: (length, { steps }) => pairsPerBatch(length, steps!),
    score: (batch, { steps }, work) =>
      estimates(
        batch,
        Array.from({ length: steps! }, (_, k) => (k + 1) / steps!),
        work,
      ),
  },
  exact: {
    together: () => 1,
    score: async (batch, _, work) => [await exactScores(batch, work)],
  },
};

/**
 * Scores a model's edges by what becomes of the metric when an edge carries the corrupt prompt's output: negative where the edge
 * helps the answer, of kl and loss positive.
 *
 * exact: the metric of the run with that edge alone corrupted, less the clean one; one run an edge.
 * eap: its first-order estimate on the clean run. eap-ig: with the gradient's mean over `steps` runs whose embedding moves from the
 * corrupt prompt's to the clean one's.
 * @returns a circuit file's content: the edges by falling absolute score, means over the pairs
 * @throws HeadscopeError for pairs that `tokenPairs` refuses, parameters that the method lacks, exact scores of more than 5,000 edges,
 * and kl estimated on the clean run alone
 * @see Nanda 2023, Attribution Patching; Syed et al. 2023 for EAP; Hanna et al. 2024, Have Faith in Faithfulness, for EAP-IG
 */
export async function findCircuit(model: Model, options: FindCircuitOptions): Promise<Circuit> {
  checkOptions("findCircuit", options, OPTIONS, ["pairs", "method"]);
  const { method, metric = METRICS[0], edges: kept } = options;
  const { graph, params, edges, byPair } = await scorePairs(model, options);
  const { clean, corrupt } = meanOf(byPair.map(({ clean, corrupt }) => ({ clean, corrupt })));
  const notes = pairDoubts(byPair.map(({ differences }) => differences));
  const scored = meanScores(edges, byPair);
  return {
    format: CIRCUIT_FORMAT,
    model: headModel(model),
    method,
    metric,
    params,
    clean,
    corrupt,
    total: graph.size,
    edges: strongest(scored, kept).map(({ edge, score }) => ({ ...graph.name(edge), score })),
    totals: totalsOf(graph, scored),
    ...(notes.length > 0 ? { notes } : {}),
  };
}

/** Scores of edges by pair. */
export interface ScoredPairs {
  readonly graph: EdgeGraph;
  readonly params: Readonly<Record<string, number>>;
  /** Numbers of the edges that were scored, ascending. */
  readonly edges: readonly number[];
  readonly byPair: readonly PairScores[];
}

/** Scores a model's edges on each of some pairs. @throws as `findCircuit` */
export async function scorePairs(model: Model, options: FindCircuitOptions): Promise<ScoredPairs> {
  const { method, metric = METRICS[0], signal, turn, progress } = options;
  const params = parseCircuitParameters(method, options.params);
  checkGradient(method, params, metric);
  const graph = new EdgeGraph(model.config);
  const edges = edgesToScore(model, graph, options);
  const pairs = tokenPairs(model, options.pairs, { prependBos: options.prependBos });
  for (const { clean } of pairs) checkRoom(model, graph, clean.length);
  const byPair = new Array<PairScores>(pairs.length);
  let done = 0;
  for (const places of batchesOf(pairs, (length) => SCORERS[method].together(length, params))) {
    const onShare = (share: number): void =>
      progress?.(Math.round(((done + share * places.length) / pairs.length) * 1000), 1000, `${method}, edges`);
    const work = { edges, onShare, onLayer: () => signal?.throwIfAborted(), turn: turn ?? loopTurn(signal) };
    const batch = { model, graph, pairs: places.map((place) => pairs[place]!), metric };
    const scored = await SCORERS[method].score(batch, params, work);
    for (const [i, pair] of scored.entries()) {
      checkFinite(pair.scores, edges, graph);
      byPair[places[i]!] = pair;
    }
    done += places.length;
  }
  return { graph, params, edges, byPair };
}

/** Places of pairs of one length, so many together. */
function batchesOf(pairs: readonly TokenPair[], together: (length: number) => number): number[][] {
  const byLength = new Map<number, number[]>();
  for (const [place, { clean }] of pairs.entries())
    byLength.set(clean.length, [...(byLength.get(clean.length) ?? []), place]);
  return [...byLength].flatMap(([length, places]) => {
    const size = together(length);
    return Array.from({ length: Math.ceil(places.length / size) }, (_, b) => places.slice(b * size, (b + 1) * size));
  });
}

/** Exact scores on one pair. */
async function exactScores({ model, graph, pairs, metric }: PairBatch, work: EdgeWork): Promise<PairScores> {
  const pair = pairs[0]!;
  const clean = await runSources(model, pair, "clean", work);
  try {
    const corrupt = await runSources(model, pair, "corrupt", work);
    try {
      const onEdges = (done: number): void => work.onShare(done / work.edges.length);
      const measure = pairMeasure(metric, pair, clean.logits);
      const split = { model, graph, pair, clean, corrupt, measure };
      const scores = await exactEffects(split, work.edges, { ...work, onEdges });
      return {
        clean: measure(clean.logits)[0]!,
        corrupt: measure(corrupt.logits)[0]!,
        differences: { clean: clean.difference, corrupt: corrupt.difference },
        scores,
      };
    } finally {
      corrupt.dispose();
    }
  } finally {
    clean.dispose();
  }
}

/** Estimates from gradients, of which the scores asked for are kept. */
async function estimates(batch: PairBatch, shares: readonly number[], work: EdgeWork): Promise<PairScores[]> {
  const byPair = await gradientScores(batch, { ...work, shares });
  if (work.edges.length === batch.graph.size) return byPair;
  return byPair.map(({ scores, ...rest }) => ({ ...rest, scores: Float64Array.from(work.edges, (e) => scores[e]!) }));
}

/** A method's parameters, checked and complete. @throws HeadscopeError (usage) for one that it lacks or a value outside its range */
export function parseCircuitParameters(
  method: CircuitMethod,
  raw: Readonly<Record<string, unknown>> = {},
): Readonly<Record<string, number>> {
  return parseParameters(`method ${method}`, circuitParameters[method], raw) as Record<string, number>;
}

/** @throws HeadscopeError (usage) for kl estimated on the clean run alone, where it is at its least and its gradient 0 */
function checkGradient(method: CircuitMethod, { steps = 1 }: Parameters, metric: MetricName): void {
  if (metric !== "kl" || method === "exact" || steps > 1) return;
  throw new HeadscopeError("usage", `on the clean run the gradient of kl is 0, so ${method} scores no edge by it`, {
    remedy: "choose eap-ig with several steps, exact, or another metric",
    field: "metric",
  });
}

function edgesToScore(model: Model, graph: EdgeGraph, options: FindCircuitOptions): readonly number[] {
  const { method, edgesFrom, source = "the circuit" } = options;
  if (edgesFrom !== undefined) {
    const { edges } = namedEdges(model, graph, edgesFrom, source);
    if (method !== "exact" || edges.length <= MANY_EDGES) return edges.toSorted((a, b) => a - b);
    throw tooMany(`${source} names ${edges.length} edges`);
  }
  if (method === "exact" && graph.size > MANY_EDGES) throw tooMany(`${model.ref} has ${graph.size} edges`);
  return Array.from({ length: graph.size }, (_, edge) => edge);
}

function tooMany(what: string): HeadscopeError {
  return new HeadscopeError("usage", `${what}, and exact scores take one run each: ${MANY_EDGES} are the most`, {
    remedy: "find candidates by eap-ig, and name them with --edges-from",
    field: "edgesFrom",
  });
}

function checkFinite(scores: Float64Array, edges: readonly number[], graph: EdgeGraph): void {
  const odd = scores.findIndex((score) => !Number.isFinite(score));
  if (odd < 0) return;
  const { from, to } = graph.name(edges[odd]!);
  throw new HeadscopeError("input", `the score of ${from} -> ${to} is no number`, {
    remedy: "look at the model's weights: they are damaged, or its training diverged",
  });
}

/** An edge's number and score. */
export interface ScoredEdge {
  readonly edge: number;
  readonly score: number;
}

/** Means of scores over pairs. @param edges their numbers, in the order of the scores */
export function meanScores(edges: readonly number[], byPair: readonly PairScores[]): ScoredEdge[] {
  return edges.map((edge, i) => ({
    edge,
    score: byPair.reduce((sum, { scores }) => sum + scores[i]!, 0) / byPair.length,
  }));
}

/** The edges by falling absolute score, of equal ones the earlier first; so many of them. */
export function strongest(scored: readonly ScoredEdge[], kept: number | "all" | undefined): ScoredEdge[] {
  const most = kept ?? (scored.length <= MANY_EDGES ? "all" : KEPT_EDGES);
  const sorted = scored.toSorted((a, b) => Math.abs(b.score) - Math.abs(a.score) || a.edge - b.edge);
  return most === "all" ? sorted : sorted.slice(0, most);
}

/** Sums of scores by where their edges go and come from. */
function totalsOf(graph: EdgeGraph, scored: readonly ScoredEdge[]): Circuit["totals"] {
  const groups = new Map(EDGE_GROUPS.map((group) => [group, { edges: 0, sum: 0, sumAbs: 0 }]));
  for (const { edge, score } of scored) {
    const { source, destination } = graph.ends(edge);
    for (const group of [`into ${kindOf(destination)}`, `from ${source.kind}`] as const satisfies EdgeGroup[]) {
      const total = groups.get(group)!;
      total.edges++;
      total.sum += score;
      total.sumAbs += Math.abs(score);
    }
  }
  return Object.fromEntries(groups) as Circuit["totals"];
}
