import type { Circuit } from "../../../backend/common/api/circuits.ts";

/** An edge by the names of its ends. */
type Edge = Pick<Circuit["edges"][number], "from" | "to">;

/** Name of an edge among what is switched off: FROM-TO; a node there has its own name. */
export function edgeName({ from, to }: Edge): string {
  return `${from}-${to}`;
}

/** Name of the node that an edge goes into, without the input of a head. */
export function nodeName(to: string): string {
  return to.replace(/<[qkv]>$/, "");
}

/** Says that an edge is switched off, by itself or with a node at one of its ends. */
export function isOff(edge: Edge, off: readonly string[]): boolean {
  return [edgeName(edge), edge.from, nodeName(edge.to)].some((name) => off.includes(name));
}

/** Says that all of some edges are switched off: those that are drawn as one. */
export function areOff(edges: readonly Edge[], off: readonly string[]): boolean {
  return off.length > 0 && edges.every((edge) => isOff(edge, off));
}

/** The names of all that is off after a node was switched. */
export function switchNode(node: string, off: readonly string[]): string[] {
  return off.includes(node) ? off.filter((name) => name !== node) : [...off, node];
}

/**
 * The names of all that is off after an edge was switched. One that is off with its node comes back alone: the node's other edges stay off
 * by themselves.
 * @param edges those of the circuit
 */
export function switchEdge(edge: Edge, off: readonly string[], edges: readonly Edge[]): string[] {
  const name = edgeName(edge);
  if (!isOff(edge, off)) return [...off, name];
  const nodes = [edge.from, nodeName(edge.to)].filter((node) => off.includes(node));
  const others = edges
    .filter((other) => nodes.includes(other.from) || nodes.includes(nodeName(other.to)))
    .map(edgeName);
  const rest = off.filter((each) => !nodes.includes(each));
  return [...new Set([...rest, ...others])].filter((each) => each !== name);
}
