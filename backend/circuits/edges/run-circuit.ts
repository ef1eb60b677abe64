import type { CircuitCurve, CircuitRunResult } from "../../common/api/circuits.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { ANYTHING, checkOptions, listOf, type Rules, whole } from "../../common/options.ts";
import type { Model } from "../../models/model.ts";
import { meanOf } from "../means.ts";
import { pairDoubts, tokenPairs } from "../pairs.ts";
import type { EdgeSet } from "./assembled-run.ts";
import { edgeSet, type NamedEdges, namedEdges } from "./circuit-list.ts";
import { curveAreas, faithfulnessOf } from "./faithfulness.ts";
import { EdgeGraph } from "./graph.ts";
import { CircuitSession } from "./session.ts";
import { CIRCUIT_WORK, type CircuitWork, workOf } from "./work.ts";

/** A circuit to run. */
export interface CircuitRunOptions extends CircuitWork {
  /** The result of `findCircuit`, `{edges: [{from, to}, ...]}`, or `{without: [{from, to}, ...]}`: all edges but these. */
  circuit: unknown;
  /** The first so many of its edges; default all. */
  edges?: number | undefined;
  /** Name of the circuit in errors, such as its file. */
  source?: string | undefined;
}

/** A circuit to run at several sizes. */
export interface CircuitCurveOptions extends Omit<CircuitRunOptions, "edges"> {
  /** Numbers of edges: each runs the first so many of the circuit. */
  sizes: readonly number[];
}

const RUN: Rules<CircuitRunOptions> = { ...CIRCUIT_WORK, circuit: ANYTHING, edges: whole(0), source: ANYTHING };
const CURVE: Rules<CircuitCurveOptions> = {
  ...CIRCUIT_WORK,
  circuit: ANYTHING,
  sizes: listOf(whole(0)),
  source: ANYTHING,
};

/**
 * Edge patching: the clean prompt's run in which every edge that is not in the circuit carries the corrupt prompt's output.
 * @returns metrics, means over the pairs; the circuit of all edges gives the clean one, the empty one the corrupt one
 * @throws HeadscopeError for pairs that `tokenPairs` refuses, an edge that the model lacks (named), a circuit of another model,
 * more edges than the circuit has, and runs that do not fit into memory
 */
export async function runCircuit(model: Model, options: CircuitRunOptions): Promise<CircuitRunResult> {
  checkOptions("runCircuit", options, RUN, ["pairs", "circuit"]);
  const graph = new EdgeGraph(model.config);
  const named = namedEdges(model, graph, options.circuit, options.source ?? "the circuit");
  const edges = firstOf(named, options.edges ?? named.edges.length, graph);
  const { clean, corrupt, metrics, notes } = await measureCircuits(model, withMetric(options, named), [
    edgeSet(graph, edges),
  ]);
  const metric = metrics[0]!;
  const faithfulness = faithfulnessOf(metric, { clean, corrupt });
  return { clean, corrupt, metric, faithfulness, edges: edges.length, total: graph.size, ...(notes && { notes }) };
}

/**
 * The metric of a circuit cut to its first edges, at several sizes, with CPR and CMD.
 * @throws as `runCircuit`
 * @see Mueller et al. 2025, MIB: A Mechanistic Interpretability Benchmark, section 3
 */
export async function circuitCurve(model: Model, options: CircuitCurveOptions): Promise<CircuitCurve> {
  checkOptions("circuitCurve", options, CURVE, ["pairs", "circuit", "sizes"]);
  const graph = new EdgeGraph(model.config);
  const named = namedEdges(model, graph, options.circuit, options.source ?? "the circuit");
  const sizes = [...new Set(options.sizes)].toSorted((a, b) => a - b);
  const circuits = sizes.map((size) => edgeSet(graph, firstOf(named, size, graph)));
  const { clean, corrupt, metrics, notes } = await measureCircuits(model, withMetric(options, named), circuits);
  const curve = sizes.map((edges, i) => {
    const metric = metrics[i]!;
    return { edges, share: edges / graph.size, metric, faithfulness: faithfulnessOf(metric, { clean, corrupt }) };
  });
  return { clean, corrupt, total: graph.size, curve, ...curveAreas(curve), ...(notes && { notes }) };
}

/** Circuits' metrics on one pair. */
export interface PairMetrics {
  clean: number;
  corrupt: number;
  /** By circuit. */
  metrics: number[];
}

/** Metrics of circuits, means over the pairs. */
export interface CircuitMetrics extends PairMetrics {
  /** By pair. */
  byPair: readonly PairMetrics[];
  notes?: string[];
}

/** Runs circuits on every pair. @throws as `runCircuit` */
export async function measureCircuits(
  model: Model,
  options: CircuitWork,
  circuits: readonly EdgeSet[],
): Promise<CircuitMetrics> {
  const pairs = tokenPairs(model, options.pairs, { prependBos: options.prependBos });
  const { progress } = options;
  const byPair: PairMetrics[] = [];
  const differences: { clean: number; corrupt: number }[] = [];
  for (const [p, pair] of pairs.entries()) {
    const onCircuits = (done: number): void =>
      progress?.(p * circuits.length + done, pairs.length * circuits.length, "circuit runs");
    // One pair's runs are held at a time.
    const session = await CircuitSession.open(model, { ...options, pairs: [pair] });
    try {
      const metrics = await session.run(circuits, { onCircuits });
      byPair.push({ ...session.whole[0]!, metrics: metrics.map(([metric]) => metric!) });
      differences.push(session.differences[0]!);
    } finally {
      session.dispose();
    }
  }
  const notes = pairDoubts(differences);
  return { ...meanOf(byPair), byPair, ...(notes.length > 0 ? { notes } : {}) };
}

/** Work with its metric: by default that of the circuit's scores. */
function withMetric(options: CircuitWork, { metric }: NamedEdges): CircuitWork {
  return { ...workOf(options), metric: options.metric ?? metric };
}

/** A circuit's first edges. @throws HeadscopeError (usage) for more than it has, or of one that has no order */
export function firstOf({ edges, without }: NamedEdges, count: number, graph: EdgeGraph): readonly number[] {
  if (count === edges.length) return edges;
  if (without)
    throw new HeadscopeError("usage", "a circuit that is named by what it lacks has no first edges", {
      remedy: "leave the number of edges out, or list the circuit's edges",
      field: "edges",
    });
  if (count < edges.length) return edges.slice(0, count);
  if (count === graph.size) return Array.from({ length: graph.size }, (_, edge) => edge);
  throw new HeadscopeError("usage", `the first ${count} edges are asked of a circuit that lists ${edges.length}`, {
    remedy: `ask for at most ${edges.length}, or find the circuit with --edges all`,
    field: "edges",
  });
}
