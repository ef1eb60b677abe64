import { METRICS, type MetricName } from "../../../common/metrics.ts";
import type { EdgeSet } from "../assembled-run.ts";
import { edgeSet } from "../circuit-list.ts";
import type { CircuitSession } from "../session.ts";
import type { ScoredEdge } from "./nodes.ts";

/** A search by removal. */
export interface AcdcOptions {
  /** Numbers of the edges to begin with. */
  edges: readonly number[];
  /** Change of the metric below which an edge is removed; of kl, its rise. */
  threshold: number;
  /** The session's. Default logit-diff. */
  metric?: MetricName | undefined;
  /** Called with the number of edges decided on. */
  onEdges(done: number): void;
}

/** Circuits that run together: one edge after the other is taken out, in the hope that all of them may go. */
const TOGETHER = 8;
/** Edges removed in a row from which on there is such a hope; until then they are tried one by one. */
const STREAK = 3;

/**
 * ACDC: goes over the edges from the logits back to the embedding, and removes each one without which the metric of what is left,
 * mean over the pairs, changes by less than a threshold.
 *
 * Several removals in a row run as rows of one batch, whose metrics are those of one by one up to the first edge that stays.
 * @returns the edges that stay, each with the change that removing it made when it was tried
 * @see Conmy et al. 2023, Towards Automated Circuit Discovery, algorithm 1
 */
export async function acdc(
  session: CircuitSession,
  { edges, threshold, metric = METRICS[0], onEdges }: AcdcOptions,
): Promise<ScoredEdge[]> {
  const order = edges.toSorted((a, b) => b - a);
  const goes = (change: number): boolean => (metric === "kl" ? change : Math.abs(change)) < threshold;
  const kept: ScoredEdge[] = [];
  let own = edgeSet(session.graph, edges);
  let [value] = await meansOf(session, [own]);
  for (let next = 0, streak = STREAK; next < order.length; ) {
    const size = streak < STREAK ? 1 : TOGETHER;
    const tried = order.slice(next, next + size);
    const circuits = removals(own, tried);
    // Filled up, so that there are two sizes of batches, which run the same functions each.
    const filled = Array.from({ length: size }, (_, i) => circuits[Math.min(i, circuits.length - 1)]!);
    const values = await meansOf(session, filled);
    const changes = tried.map((_, i) => values[i]! - (i === 0 ? value! : values[i - 1]!));
    const stays = changes.findIndex((change) => !goes(change));
    const gone = stays < 0 ? tried.length : stays;
    if (gone > 0) [own, value] = [circuits[gone - 1]!, values[gone - 1]!];
    if (stays >= 0) kept.push({ edge: tried[stays]!, score: changes[stays]! });
    streak = stays < 0 ? streak + gone : 0;
    next += stays < 0 ? gone : gone + 1;
    onEdges(next);
  }
  return kept;
}

/** Circuits without the first, the first two, ... of some edges. */
function removals(circuit: EdgeSet, edges: readonly number[]): EdgeSet[] {
  let rest = circuit;
  return edges.map((edge) => {
    rest = rest.slice();
    rest[edge] = 0;
    return rest;
  });
}

/** Metrics of circuits, means over the pairs. */
async function meansOf(session: CircuitSession, circuits: readonly EdgeSet[]): Promise<number[]> {
  const metrics = await session.run(circuits);
  return metrics.map((values) => values.reduce((sum, value) => sum + value, 0) / values.length);
}
