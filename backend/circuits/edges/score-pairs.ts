import { HeadscopeError } from "../../common/errors.ts";
import { METRICS } from "../../common/metrics.ts";
import { type CircuitMethod, KEPT_EDGES, MANY_EDGES } from "../../common/words.ts";
import type { Model } from "../../models/model.ts";
import { loopTurn } from "../../runtime/turn.ts";
import { evenBatches } from "../batches.ts";
import { type TokenPair, tokenPairs } from "../pairs.ts";
import { namedEdges } from "./circuit-list.ts";
import { EdgeGraph } from "./graph.ts";
import { checkInsideNodes } from "./layer-stages.ts";
import type { PairScores } from "./methods/batch.ts";
import {
  type CircuitParameters,
  checkGradient,
  isEstimate,
  parseCircuitParameters,
  SCORERS,
  type ScoringMethod,
} from "./methods/index.ts";
import type { ScoredEdge } from "./methods/nodes.ts";
import { checkSources } from "./source-run.ts";
import type { CircuitWork } from "./work.ts";

/** Edges to score. */
export interface ScoreOptions extends CircuitWork {
  method: ScoringMethod;
  /** Parameters of the method by name; see `circuitParameters` of methods/index.ts. */
  params?: Readonly<Record<string, unknown>> | undefined;
  /** A circuit whose edges alone are scored. */
  edgesFrom?: unknown;
  /** Name of that circuit in errors, such as its file. */
  source?: string | undefined;
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
export async function scorePairs(model: Model, options: ScoreOptions): Promise<ScoredPairs> {
  const { method, metric = METRICS[0], signal, turn, progress } = options;
  const params = parseCircuitParameters(method, options.params);
  checkGradient(method, params, metric);
  checkInsideNodes(model);
  const graph = new EdgeGraph(model.config);
  const edges = edgesToScore(model, graph, options);
  const pairs = tokenPairs(model, options.pairs, { prependBos: options.prependBos });
  for (const { clean } of pairs) checkBatch(model, graph, clean.length, { method, params, pairs: pairs.length });
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

/** Refuses a batch of pairs of one length that does not fit into memory. @throws as `checkSources` */
function checkBatch(
  model: Model,
  graph: EdgeGraph,
  length: number,
  { method, params, pairs }: { method: ScoringMethod; params: CircuitParameters; pairs: number },
): void {
  const together = Math.min(pairs, SCORERS[method].together(length, params));
  const runs = isEstimate(method) ? (params["steps"] ?? 1) : 0;
  const [batch] = runs > 0 ? evenBatches(runs, together * length) : [];
  checkSources(model, graph, together * length, (batch?.size ?? 0) * together * length);
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

/**
 * The edges that a method is to score, ascending: those of a circuit, or all.
 * @throws HeadscopeError (usage) for more than may take a run each, and as `namedEdges`
 */
export function edgesToScore(
  model: Model,
  graph: EdgeGraph,
  options: Pick<ScoreOptions, "edgesFrom" | "source"> & { method: CircuitMethod },
): readonly number[] {
  const { method, edgesFrom, source = "the circuit" } = options;
  const runEach = !isEstimate(method);
  if (edgesFrom !== undefined) {
    const { edges } = namedEdges(model, graph, edgesFrom, source);
    if (!runEach || edges.length <= MANY_EDGES) return edges.toSorted((a, b) => a - b);
    throw tooMany(`${source} names ${edges.length} edges`, method);
  }
  if (runEach && graph.size > MANY_EDGES) throw tooMany(`${model.ref} has ${graph.size} edges`, method);
  return Array.from({ length: graph.size }, (_, edge) => edge);
}

function tooMany(what: string, method: CircuitMethod): HeadscopeError {
  return new HeadscopeError("usage", `${what}, and ${method} takes a run each: ${MANY_EDGES} are the most`, {
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
