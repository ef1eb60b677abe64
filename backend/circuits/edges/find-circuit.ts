import { CIRCUIT_FORMAT, type Circuit } from "../../common/api/circuits.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { headModel } from "../../common/heads/model.ts";
import { METRICS } from "../../common/metrics.ts";
import { ANYTHING, checkOptions, oneOf, type Rules, whole } from "../../common/options.ts";
import {
  CIRCUIT_LEVELS,
  CIRCUIT_METHODS,
  type CircuitLevel,
  type CircuitMethod,
  EDGE_GROUPS,
  type EdgeGroup,
  KEPT_NODES,
  MANY_EDGES,
} from "../../common/words.ts";
import type { Model } from "../../models/model.ts";
import { meanOf } from "../means.ts";
import { pairDoubts } from "../pairs.ts";
import { EdgeGraph, kindOf } from "./graph.ts";
import { acdc } from "./methods/acdc.ts";
import { type CircuitParameters, parseCircuitParameters } from "./methods/index.ts";
import {
  edgesBetween,
  effectsOut,
  type ScoredEdge,
  type ScoredNode,
  strongestNodes,
  sumsOut,
} from "./methods/nodes.ts";
import { edgesToScore, meanScores, type ScoreOptions, scorePairs, strongest } from "./score-pairs.ts";
import { CircuitSession } from "./session.ts";
import { CIRCUIT_WORK } from "./work.ts";

/** A circuit to look for. */
export interface FindCircuitOptions extends Omit<ScoreOptions, "method"> {
  method: CircuitMethod;
  /** Edges that the result holds, those with the largest absolute scores; default all up to 5,000, and 1,000 beyond. */
  edges?: number | "all" | undefined;
  /** Parts that are scored and kept: edges (default), or nodes with all edges between them. */
  level?: CircuitLevel | undefined;
  /** At the level of nodes: heads and MLPs that the result holds; default all of a model with up to 5,000 edges, and 50 beyond. */
  nodes?: number | undefined;
}

const OPTIONS: Rules<FindCircuitOptions> = {
  ...CIRCUIT_WORK,
  method: oneOf(CIRCUIT_METHODS),
  params: { wants: "values by name", fits: (value) => typeof value === "object" && value !== null },
  edges: {
    wants: "a whole number from 1, or all",
    fits: (n) => n === "all" || (Number.isSafeInteger(n) && (n as number) > 0),
  },
  level: oneOf(CIRCUIT_LEVELS),
  nodes: whole(1),
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
 * eap-gp: over runs whose embedding goes from the clean prompt's down the slope of the distance between the logits and the corrupt
 * prompt's, in `steps` steps of a `length`, so that they are where the output changes.
 * acdc: no score of every edge, but a search: from the logits back to the embedding, each edge is removed whose removal from what is
 * left changes the metric by less than `threshold`; the score of those that stay is that change.
 *
 * At the level of nodes the circuit is all edges between the strongest heads and MLPs. A node's score is that of all edges out of
 * it together: by exact of one run, else the sum of theirs, which of eap is attribution patching of its output.
 * @returns a circuit file's content: the edges by falling absolute score, means over the pairs
 * @throws HeadscopeError for pairs that `tokenPairs` refuses, parameters that the method lacks, exact scores and acdc of more than 5,000 edges,
 * and kl estimated on the clean run alone
 * @see Nanda 2023, Attribution Patching; Syed et al. 2023 for EAP; Hanna et al. 2024, Have Faith in Faithfulness, for EAP-IG; Zhang et al. 2025 for EAP-GP; Conmy et al. 2023 for ACDC
 */
export async function findCircuit(model: Model, options: FindCircuitOptions): Promise<Circuit> {
  checkOptions("findCircuit", options, OPTIONS, ["pairs", "method"]);
  const { method, metric = METRICS[0], edges: kept } = options;
  const { graph, params, scored, nodes, sides, differences } = await search(model, options);
  const { changes } = model;
  const under = changes ? [`found under interventions at ${[...changes.keys()].join(", ")}`] : [];
  const notes = [...under, ...pairDoubts(differences)];
  return {
    format: CIRCUIT_FORMAT,
    model: headModel(model),
    method,
    metric,
    params,
    ...meanOf(sides),
    total: graph.size,
    ...(nodes ? { level: "node" as const, nodes: [...nodes] } : {}),
    edges: strongest(scored, nodes ? "all" : kept).map(({ edge, score }) => ({ ...graph.name(edge), score })),
    totals: totalsOf(graph, scored),
    ...(notes.length > 0 ? { notes } : {}),
  };
}

/** Runs the search that the options ask for. @throws HeadscopeError (usage) for options of another level */
function search(model: Model, options: FindCircuitOptions): Promise<Found> {
  const { method, level = "edge" } = options;
  const other = (["edges", "edgesFrom", "nodes"] as const).find(
    (name) => options[name] !== undefined && (name === "nodes") === (level === "edge"),
  );
  if (other)
    throw new HeadscopeError("usage", `${other} is an option of the other level, and the level is ${level}`, {
      remedy: level === "node" ? "choose how many nodes to keep" : "choose the level node, or how many edges to keep",
      field: other,
    });
  if (level === "node") return byNode(model, options);
  return method === "acdc" ? byRemoval(model, options) : byScore(model, { ...options, method });
}

/** A value of a pair's two whole runs. */
interface Sides {
  readonly clean: number;
  readonly corrupt: number;
}

/** Edges with their scores, and by pair the metrics and logit differences of the whole runs. */
interface Found {
  readonly graph: EdgeGraph;
  readonly params: CircuitParameters;
  readonly scored: readonly ScoredEdge[];
  /** At the level of nodes: those that are kept. */
  readonly nodes?: readonly ScoredNode[];
  readonly sides: readonly Sides[];
  readonly differences: readonly Sides[];
}

/** Every edge scored by itself. */
async function byScore(model: Model, options: ScoreOptions): Promise<Found> {
  const { graph, params, edges, byPair } = await scorePairs(model, options);
  return {
    graph,
    params,
    scored: meanScores(edges, byPair),
    sides: byPair.map(({ clean, corrupt }) => ({ clean, corrupt })),
    differences: byPair.map(({ differences }) => differences),
  };
}

/** Every node scored by what becomes of the metric when all edges out of it carry its corrupt output, or an estimate of that. */
async function byNode(model: Model, options: FindCircuitOptions): Promise<Found> {
  const { method, nodes: count } = options;
  if (method === "acdc")
    throw new HeadscopeError("usage", "acdc removes edges, not nodes", {
      remedy: "leave the level out, or score nodes by eap-ig or exact",
      field: "level",
    });
  const found =
    method === "exact" ? await exactNodes(model, options) : await estimatedNodes(model, { ...options, method });
  const { graph, all, ...rest } = found;
  const nodes = strongestNodes(all, count ?? (graph.size <= MANY_EDGES ? undefined : KEPT_NODES));
  const scored = edgesBetween(graph, nodes, all.find(({ node }) => node === "embed")!.score);
  return { graph, ...rest, nodes, scored };
}

/** Scores of all sources. */
type FoundNodes = Omit<Found, "scored" | "nodes"> & { readonly all: readonly ScoredNode[] };

/** Nodes by the sums of the scores of the edges out of them. */
async function estimatedNodes(model: Model, options: ScoreOptions): Promise<FoundNodes> {
  const { scored, ...rest } = await byScore(model, options);
  return { ...rest, all: sumsOut(rest.graph, scored) };
}

/** Nodes by a run each. */
async function exactNodes(model: Model, options: FindCircuitOptions): Promise<FoundNodes> {
  const { progress } = options;
  const params = parseCircuitParameters("exact", options.params);
  const session = await CircuitSession.open(model, options);
  try {
    const { graph, whole, differences } = session;
    const runs = graph.sources.length * whole.length;
    const all = await effectsOut(session, (done) => progress?.(done, runs, "exact, nodes"));
    return { graph, params, all, sides: whole, differences };
  } finally {
    session.dispose();
  }
}

/** The edges that ACDC leaves. */
async function byRemoval(model: Model, options: FindCircuitOptions): Promise<Found> {
  const { metric, progress } = options;
  const params = parseCircuitParameters("acdc", options.params);
  const graph = new EdgeGraph(model.config);
  const edges = edgesToScore(model, graph, options);
  const session = await CircuitSession.open(model, options);
  try {
    const onEdges = (done: number): void => progress?.(done, edges.length, "acdc, edges");
    const scored = await acdc(session, { edges, threshold: params["threshold"]!, metric, onEdges });
    return { graph, params, scored, sides: session.whole, differences: session.differences };
  } finally {
    session.dispose();
  }
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
