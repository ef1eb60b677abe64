import type { Random } from "../../common/random.ts";
import { type EdgeGraph, kindOf } from "../edges/graph.ts";

/** The layer and the kind of input that an edge goes into: "3 head", "3 mlp", "logits". */
function groupOf(graph: EdgeGraph, edge: number): string {
  const { destination } = graph.ends(edge);
  if (destination.kind === "logits") return kindOf(destination);
  return `${destination.layer} ${destination.kind}`;
}

/**
 * A random circuit with as many edges into the heads of every layer, into every MLP and into the logits as a circuit has.
 * @param edges of the circuit, by number
 */
export function randomLike(graph: EdgeGraph, edges: readonly number[], random: Random): number[] {
  const wanted = new Map<string, number>();
  for (const edge of edges) {
    const group = groupOf(graph, edge);
    wanted.set(group, (wanted.get(group) ?? 0) + 1);
  }
  const groups = new Map<string, number[]>();
  for (let edge = 0; edge < graph.size; edge++) {
    const group = groupOf(graph, edge);
    if (!wanted.has(group)) continue;
    const members = groups.get(group) ?? [];
    members.push(edge);
    groups.set(group, members);
  }
  return [...wanted].flatMap(([group, count]) => {
    const members = groups.get(group)!;
    return random
      .permutation(members.length)
      .slice(0, count)
      .map((place) => members[place]!);
  });
}
