import { CIRCUIT_FORMAT, type Circuit } from "../../common/api/circuits.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { headModel } from "../../common/heads/model.ts";
import { METRICS } from "../../common/metrics.ts";
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
import { meanOf } from "../means.ts";
import { pairDoubts, type TokenPair, tokenPairs } from "../pairs.ts";
import { namedEdges } from "./circuit-list.ts";
import { EdgeGraph, kindOf } from "./graph.ts";
import type { PairScores } from "./methods/batch.ts";
import { type CircuitParameters, checkGradient, parseCircuitParameters, SCORERS } from "./methods/index.ts";
import { checkRoom } from "./source-run.ts";
import { CIRCUIT_WORK, type CircuitWork } from "./work.ts";

/** A circuit to look for. */
export interface FindCircuitOptions extends CircuitWork {
  method: CircuitMethod;
  /** Parameters of the method by name; see `circuitParameters` of methods/index.ts. */
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

/**
 * Scores a model's edges by what becomes of the metric when an edge carries the corrupt prompt's output: negative where the edge
 * helps the answer, of kl and loss positive.
 *
 * exact: the metric of the run with that edge alone corrupted, less the clean one; one run an edge.
 * eap: its first-order estimate on the clean run. eap-ig: with the gradient's mean over `steps` runs whose embedding moves from the
 * corrupt prompt's to the clean one's. eap-ig-activations: for the edges out of the embedding, the heads of a layer, or an MLP, over
 * runs in which the outputs of those alone move, so that the edges out of them add up to the effect of corrupting them together.
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
  readonly params: CircuitParameters;
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
