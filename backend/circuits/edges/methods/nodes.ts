import type { EdgeSet } from "../assembled-run.ts";
import type { EdgeGraph } from "../graph.ts";
import type { CircuitSession } from "../session.ts";

/** An edge's number and score. */
export interface ScoredEdge {
  readonly edge: number;
  readonly score: number;
}

/** A source of the graph by its name, with its score. */
export interface ScoredNode {
  readonly node: string;
  readonly score: number;
}

/** Scores of all sources: the sums of those of the edges out of them. @param scored all edges of the graph */
export function sumsOut(graph: EdgeGraph, scored: readonly ScoredEdge[]): ScoredNode[] {
  const sums = new Map(graph.sources.map(({ name }) => [name, 0]));
  for (const { edge, score } of scored) {
    const { name } = graph.ends(edge).source;
    sums.set(name, sums.get(name)! + score);
  }
  return [...sums].map(([node, score]) => ({ node, score }));
}

/**
 * Scores of all sources: the metric of the run in which all edges out of the source carry its corrupt output, less the clean one;
 * means over the pairs. One run a node.
 */
export async function effectsOut(session: CircuitSession, onRuns: (done: number) => void): Promise<ScoredNode[]> {
  const { graph, whole } = session;
  const metrics = await session.run(
    graph.sources.map((_, source) => without(graph, source)),
    { onCircuits: onRuns },
  );
  return graph.sources.map(({ name }, source) => ({
    node: name,
    score: whole.reduce((sum, { clean }, p) => sum + metrics[source]![p]! - clean, 0) / whole.length,
  }));
}

/** All edges but those out of a source. @param source its place in the graph */
function without(graph: EdgeGraph, source: number): EdgeSet {
  const set: EdgeSet = new Uint8Array(graph.size).fill(1);
  graph.destinations.forEach((destination, d) => {
    if (source < graph.sourcesOf(destination)) set[graph.firstInto(d) + source] = 0;
  });
  return set;
}

/** The strongest heads and MLPs by falling absolute score. @param count of them, default all */
export function strongestNodes(scored: readonly ScoredNode[], count = scored.length): ScoredNode[] {
  return scored
    .filter(({ node }) => node !== "embed")
    .toSorted((a, b) => Math.abs(b.score) - Math.abs(a.score))
    .slice(0, count);
}

/**
 * All edges between some nodes, `embed` and `logits`. Each has the score of the weaker of its heads and MLPs, so that by falling
 * score the edges of the strongest nodes come first, node by node.
 * @param embed score of `embed`, which its edge to the logits has
 */
export function edgesBetween(graph: EdgeGraph, nodes: readonly ScoredNode[], embed: number): ScoredEdge[] {
  const scores = new Map(nodes.map(({ node, score }) => [node, score]));
  const ends = new Set([...scores.keys(), "embed", "logits"]);
  return Array.from({ length: graph.size }, (_, edge) => edge).flatMap((edge) => {
    const { from, to } = graph.name(edge);
    const pair = [from, to.replace(/<[qkv]>$/, "")];
    if (!pair.every((name) => ends.has(name))) return [];
    const own = pair.flatMap((name) => scores.get(name) ?? []);
    const weaker = own.toSorted((a, b) => Math.abs(a) - Math.abs(b))[0];
    return [{ edge, score: weaker ?? embed }];
  });
}
