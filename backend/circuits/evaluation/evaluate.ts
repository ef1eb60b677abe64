import { type Circuit, type CircuitEvaluation, EVALUATION_FORMAT } from "../../common/api/circuits.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { headModel } from "../../common/heads/model.ts";
import { METRICS } from "../../common/metrics.ts";
import { ANYTHING, checkOptions, type Rules, whole } from "../../common/options.ts";
import { Random } from "../../common/random.ts";
import type { Model } from "../../models/model.ts";
import { edgeSet, namedEdges, parseScoredCircuit } from "../edges/circuit-list.ts";
import { curveAreas } from "../edges/faithfulness.ts";
import type { EdgeGraph } from "../edges/graph.ts";
import { isEstimate } from "../edges/methods/index.ts";
import { firstOf, measureCircuits } from "../edges/run-circuit.ts";
import { meanScores, scorePairs, strongest } from "../edges/score-pairs.ts";
import { CircuitSession } from "../edges/session.ts";
import { CIRCUIT_WORK, type CircuitWork, workOf } from "../edges/work.ts";
import { meanOf } from "../means.ts";
import { type Pair, pairDoubts } from "../pairs.ts";
import { jaccard } from "./compare.ts";
import { randomLike } from "./random-circuits.ts";
import { interval, range, resamplesOf } from "./resample.ts";
import { verdictsOf } from "./verdicts.ts";

/** A circuit to evaluate. */
export interface EvaluateCircuitOptions extends CircuitWork {
  /** The result of `findCircuit`. */
  circuit: unknown;
  /** The first so many of its edges; default all. */
  edges?: number | undefined;
  /** Other pairs by name, such as held-out ones or those of other templates, on which the circuit must be faithful too. */
  others?: Readonly<Record<string, readonly Pair[]>> | undefined;
  /** Random circuits of the same size. Default 10. */
  draws?: number | undefined;
  /** Resamples of the pairs, for intervals and stability. Default 200. */
  resamples?: number | undefined;
  /** Default 0. */
  seed?: number | undefined;
  /** Name of the circuit in errors, such as its file. */
  source?: string | undefined;
}

const OPTIONS: Rules<EvaluateCircuitOptions> = {
  ...CIRCUIT_WORK,
  circuit: ANYTHING,
  edges: whole(1),
  others: { wants: "lists of pairs by name", fits: (value) => typeof value === "object" && value !== null },
  draws: whole(1),
  resamples: whole(1),
  seed: whole(0),
  source: ANYTHING,
};

/** Edges whose need is tried one by one: of larger circuits so many, evenly over the list. */
const TRIED = 64;
/** Faithfulness that a circuit loses at least without an edge that it needs. */
const NEEDED = 0.01;
/** Points of the curve, as shares of the circuit's edges. */
const CURVE = [0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1] as const;
/** Streams of random numbers under one seed. */
const STREAMS = { circuits: 1, pairs: 2 } as const;

/** A circuit's metric on a pair, and those of the pair's whole runs. */
interface Measured {
  clean: number;
  corrupt: number;
  metric: number;
}

/** A circuit under evaluation. */
interface Evaluation {
  readonly model: Model;
  readonly graph: EdgeGraph;
  readonly edges: readonly number[];
  readonly options: EvaluateCircuitOptions;
}

/**
 * Puts a circuit to the test. Figures have 95 % intervals over resamples of the pairs.
 *
 * faithfulness: its share of the clean prompts' advantage. completeness: 1 less that of all other edges together. minimality: the
 * share of its edges without which it loses 0.01 of faithfulness or more. random: faithfulness of random circuits with as many edges
 * into every layer. stability: overlap with the circuits of its size that its method finds on resamples of the pairs; null of one
 * pair, of circuits found by nodes, and of exact scores and acdc, which take a run an edge. others: faithfulness on other pairs.
 * templates: faithfulness on the pairs of each template, where the pairs name several.
 * @throws HeadscopeError as `runCircuit`, and (input) for pairs whose two sides have the same metric
 * @see Wang et al. 2023, Interpretability in the Wild, section 4; Shi et al. 2024 for tests against random circuits
 */
export async function evaluateCircuit(model: Model, options: EvaluateCircuitOptions): Promise<CircuitEvaluation> {
  checkOptions("evaluateCircuit", options, OPTIONS, ["pairs", "circuit"]);
  const { source = "the circuit", resamples = 200, seed = 0 } = options;
  const circuit = parseScoredCircuit(options.circuit, source);
  const metric = options.metric ?? circuit.metric ?? METRICS[0];
  const session = await CircuitSession.open(model, { ...options, metric });
  try {
    const { graph, whole: pairs } = session;
    const named = namedEdges(model, graph, options.circuit, source);
    const edges = firstOf(named, options.edges ?? named.edges.length, graph);
    const evaluation = { model, graph, edges, options: { ...options, metric } };
    const resampled = resamplesOf(pairs.length, resamples, new Random(seed, STREAMS.pairs));
    const runs = await ownRuns(session, evaluation, resampled);
    const stability = await stabilityOf(evaluation, circuit, resampled);
    const others = await onOthers(evaluation, { resamples, seed });
    const notes = pairDoubts(session.differences);
    const result = { ...runs, stability, others };
    return {
      format: EVALUATION_FORMAT,
      model: headModel(model),
      method: circuit.method,
      metric,
      edges: edges.length,
      total: graph.size,
      pairs: pairs.length,
      ...meanOf(pairs),
      ...result,
      verdicts: verdictsOf(result),
      seed,
      resamples,
      ...(notes.length > 0 ? { notes } : {}),
    };
  } finally {
    session.dispose();
  }
}

/** Figures of the circuit's own pairs: the runs of it, of the rest, without each edge, of random ones, and of its beginnings. */
async function ownRuns(
  session: CircuitSession,
  { graph, edges, options }: Evaluation,
  resampled: readonly (readonly number[])[],
) {
  const { draws = 10, seed = 0, progress } = options;
  const own = new Set(edges);
  const tried = evenly(edges, TRIED);
  const random = new Random(seed, STREAMS.circuits);
  const sizes = [...new Set(CURVE.map((share) => Math.max(1, Math.round(share * edges.length))))];
  const groups = {
    circuit: [edges],
    rest: [Array.from({ length: graph.size }, (_, edge) => edge).filter((edge) => !own.has(edge))],
    without: tried.map((edge) => edges.filter((other) => other !== edge)),
    random: Array.from({ length: draws }, () => randomLike(graph, edges, random)),
    beginnings: sizes.map((size) => edges.slice(0, size)),
  };
  const circuits = Object.values(groups).flat();
  const metrics = await session.run(
    circuits.map((each) => edgeSet(graph, each)),
    { onCircuits: (done) => progress?.(done, circuits.length * session.whole.length, "evaluation, circuit runs") },
  );
  const measured = metrics.map((values) => session.whole.map((pair, p): Measured => ({ ...pair, metric: values[p]! })));
  const of = (group: keyof typeof groups) => groups[group].map((each) => measured[circuits.indexOf(each)]!);
  const [onPairs] = of("circuit");
  const faithfulness = interval(onPairs!, faithfulnessOf, resampled);
  const losses = of("without").map((pairs) => faithfulness.value - faithfulnessOf(pairs));
  const curve = of("beginnings").map((pairs, i) => ({
    edges: sizes[i]!,
    share: sizes[i]! / graph.size,
    faithfulness: faithfulnessOf(pairs),
  }));
  return {
    faithfulness,
    ...byTemplate(onPairs!, options),
    completeness: interval(of("rest")[0]!, (pairs) => 1 - faithfulnessOf(pairs), resampled),
    minimality: {
      tried: tried.length,
      needed: losses.filter((loss) => loss >= NEEDED).length / tried.length,
      losses: tried.map((edge, i) => ({ ...graph.name(edge), loss: losses[i]! })),
    },
    random: { draws, faithfulness: of("random").map(faithfulnessOf) },
    curve,
    ...curveAreas(curve),
  };
}

/** Faithfulness on the pairs of each template; nothing where the pairs name no two. */
function byTemplate(
  measured: readonly Measured[],
  { pairs, resamples = 200, seed = 0 }: EvaluateCircuitOptions,
): Pick<CircuitEvaluation, "templates"> {
  const groups = new Map<string, Measured[]>();
  for (const [p, each] of measured.entries()) {
    const { template } = pairs[p]!;
    if (template !== undefined) groups.set(template, [...(groups.get(template) ?? []), each]);
  }
  if (groups.size < 2) return {};
  const figure = (own: readonly Measured[]) => ({
    pairs: own.length,
    ...interval(own, faithfulnessOf, resamplesOf(own.length, resamples, new Random(seed, STREAMS.pairs))),
  });
  return { templates: Object.fromEntries([...groups].map(([template, own]) => [template, figure(own)])) };
}

/** Ratio of the means over the pairs. @throws HeadscopeError (input) where the two sides do not differ */
function faithfulnessOf(pairs: readonly Measured[]): number {
  const sum = (of: (pair: Measured) => number): number => pairs.reduce((total, pair) => total + of(pair), 0);
  const advantage = sum(({ clean, corrupt }) => clean - corrupt);
  if (advantage !== 0) return sum(({ metric, corrupt }) => metric - corrupt) / advantage;
  throw new HeadscopeError("input", "the clean and the corrupt prompts have the same metric", {
    remedy: "give pairs whose prompts call for different answers",
  });
}

/** So many entries at the most, evenly over a list. */
function evenly<T>(list: readonly T[], most: number): T[] {
  if (list.length <= most) return [...list];
  return Array.from({ length: most }, (_, i) => list[Math.floor((i * list.length) / most)]!);
}

/** Overlap with the circuits of its size that its method finds on resamples of the pairs. */
async function stabilityOf(
  { model, edges, options }: Evaluation,
  { method, metric, level, params }: Circuit,
  resampled: readonly (readonly number[])[],
): Promise<CircuitEvaluation["stability"]> {
  if (options.pairs.length < 2 || level === "node" || !isEstimate(method)) return null;
  const scored = await scorePairs(model, { ...workOf(options), method, metric, params });
  const overlaps = resampled.map((sample) => {
    const scores = meanScores(
      scored.edges,
      sample.map((p) => scored.byPair[p]!),
    );
    return jaccard(
      edges,
      strongest(scores, edges.length).map(({ edge }) => edge),
    );
  });
  return { value: overlaps.reduce((sum, each) => sum + each, 0) / overlaps.length, ...range(overlaps) };
}

/** Faithfulness on other pairs. */
async function onOthers(
  { model, graph, edges, options }: Evaluation,
  { resamples, seed }: { resamples: number; seed: number },
): Promise<CircuitEvaluation["others"]> {
  const result: Record<string, CircuitEvaluation["others"][string]> = {};
  for (const [name, pairs] of Object.entries(options.others ?? {})) {
    const { byPair } = await measureCircuits(model, { ...workOf(options), pairs }, [edgeSet(graph, edges)]);
    const measured = byPair.map(({ clean, corrupt, metrics }) => ({ clean, corrupt, metric: metrics[0]! }));
    const resampled = resamplesOf(measured.length, resamples, new Random(seed, STREAMS.pairs));
    result[name] = { pairs: measured.length, ...interval(measured, faithfulnessOf, resampled) };
  }
  return result;
}
