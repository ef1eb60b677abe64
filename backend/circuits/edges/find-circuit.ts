import { z } from "zod";
import { CIRCUIT_FORMAT, type Circuit } from "../../common/api/circuits.ts";
import { parseParameters } from "../../common/definitions/parameters.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { headModel } from "../../common/heads/model.ts";
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
import { pairDoubts, tokenPairs } from "../pairs.ts";
import { namedEdges } from "./circuit-list.ts";
import { gradientScores } from "./eap.ts";
import { exactEffects, type SplitPair } from "./exact.ts";
import { EdgeGraph, kindOf } from "./graph.ts";
import { checkRoom } from "./room.ts";
import { CIRCUIT_WORK, type CircuitWork } from "./run-circuit.ts";
import { runSources } from "./source-run.ts";

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

/** Scores of edges on one pair, in the order asked for: their metric corrupted less clean, or an estimate of it. */
type Scorer = (split: SplitPair, params: Readonly<Record<string, number>>, work: EdgeWork) => Promise<Float64Array>;

const SCORERS: Readonly<Record<CircuitMethod, Scorer>> = {
  eap: (split, _, work) => estimate(split, [1], work),
  "eap-ig": (split, { steps }, work) =>
    estimate(split, Array.from({ length: steps! }, (_, k) => (k + 1) / steps!), work), // biome-ignore format: short
  exact: (split, _, work) =>
    exactEffects(split, work.edges, { ...work, onEdges: (done) => work.onShare(done / work.edges.length) }),
};

/**
 * Scores a model's edges by what becomes of the metric when an edge carries the corrupt prompt's output: negative where the edge
 * helps the answer.
 *
 * exact: the metric of the run with that edge alone corrupted, less the clean one; one run an edge.
 * eap: its first-order estimate on the clean run. eap-ig: with the gradient's mean over `steps` runs whose embedding moves from the
 * corrupt prompt's to the clean one's.
 * @returns a circuit file's content: the edges by falling absolute score, means over the pairs
 * @throws HeadscopeError for pairs that `tokenPairs` refuses, parameters that the method lacks, and exact scores of more than 5,000 edges
 * @see Nanda 2023, Attribution Patching; Syed et al. 2023 for EAP; Hanna et al. 2024, Have Faith in Faithfulness, for EAP-IG
 */
export async function findCircuit(model: Model, options: FindCircuitOptions): Promise<Circuit> {
  checkOptions("findCircuit", options, OPTIONS, ["pairs", "method"]);
  const { method, edges: kept } = options;
  const { graph, params, edges, byPair } = await scorePairs(model, options);
  const { clean, corrupt } = meanOf(byPair.map(({ clean, corrupt }) => ({ clean, corrupt })));
  const notes = pairDoubts(byPair);
  const scored = meanScores(edges, byPair);
  return {
    format: CIRCUIT_FORMAT,
    model: headModel(model),
    method,
    params,
    clean,
    corrupt,
    total: graph.size,
    edges: strongest(scored, kept).map(({ edge, score }) => ({ ...graph.name(edge), score })),
    totals: totalsOf(graph, scored),
    ...(notes.length > 0 ? { notes } : {}),
  };
}

/** Scores of edges on one pair, and the metrics of its whole runs. */
export interface PairScores {
  readonly clean: number;
  readonly corrupt: number;
  /** By edge that was scored. */
  readonly scores: Float64Array;
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
  const { method, signal, turn, progress } = options;
  const params = parseCircuitParameters(method, options.params);
  const graph = new EdgeGraph(model.config);
  const edges = edgesToScore(model, graph, options);
  const pairs = tokenPairs(model, options.pairs, { prependBos: options.prependBos });
  for (const { clean } of pairs) checkRoom(model, graph, clean.length);
  const byPair: PairScores[] = [];
  for (const [p, pair] of pairs.entries()) {
    const onShare = (share: number): void =>
      progress?.(Math.round(((p + share) / pairs.length) * 1000), 1000, `${method}, edges`);
    const work = { edges, onShare, onLayer: () => signal?.throwIfAborted(), turn: turn ?? loopTurn(signal) };
    byPair.push(await scorePair({ model, graph, pair }, { method, params, work }));
  }
  return { graph, params, edges, byPair };
}

async function scorePair(
  question: Pick<SplitPair, "model" | "graph" | "pair">,
  { method, params, work }: { method: CircuitMethod; params: Readonly<Record<string, number>>; work: EdgeWork },
): Promise<PairScores> {
  const { model, graph, pair } = question;
  const clean = await runSources(model, pair, "clean", work);
  try {
    const corrupt = await runSources(model, pair, "corrupt", work);
    try {
      const scores = await SCORERS[method]({ ...question, clean, corrupt }, params, work);
      checkFinite(scores, work.edges, graph);
      return { clean: clean.metric, corrupt: corrupt.metric, scores };
    } finally {
      corrupt.dispose();
    }
  } finally {
    clean.dispose();
  }
}

/** Estimates from gradients, of which the scores asked for are kept. */
async function estimate(split: SplitPair, shares: readonly number[], work: EdgeWork): Promise<Float64Array> {
  const scores = await gradientScores(split, { ...work, shares });
  return Float64Array.from(work.edges, (edge) => scores[edge]!);
}

/** A method's parameters, checked and complete. @throws HeadscopeError (usage) for one that it lacks or a value outside its range */
export function parseCircuitParameters(
  method: CircuitMethod,
  raw: Readonly<Record<string, unknown>> = {},
): Readonly<Record<string, number>> {
  return parseParameters(`method ${method}`, circuitParameters[method], raw) as Record<string, number>;
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
