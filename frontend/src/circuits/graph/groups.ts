import type { Circuit, CircuitGroup } from "../../../../backend/common/api/circuits.ts";
import { readNode } from "../../../../backend/common/circuits.ts";
import { nodeName } from "../switches.ts";

type Edge = Circuit["edges"][number];

/** Edges that are drawn as one, because a group stands at an end of them. */
export interface MergedEdge {
  /** Of nodes, or of groups. */
  readonly from: string;
  readonly to: string;
  /** Input of the head that it goes into; absent where it goes into a group or another node. */
  readonly input: "q" | "k" | "v" | undefined;
  /** Sum over the edges. */
  readonly score: number;
  readonly members: readonly Edge[];
}

const GROUP = "group:";

/** Name of a group among nodes. */
export function groupName({ name }: Pick<CircuitGroup, "name">): string {
  return `${GROUP}${name}`;
}

/** The group of a name among nodes; undefined for that of a node. */
export function groupCalled(name: string, groups: readonly CircuitGroup[]): CircuitGroup | undefined {
  return groups.find((group) => groupName(group) === name);
}

/** The groups that are what they should be, each node in the first that names it: an address may hold anything. */
export function soundGroups(groups: readonly CircuitGroup[]): CircuitGroup[] {
  const taken = new Set<string>();
  const names = new Set<string>();
  if (!Array.isArray(groups)) return [];
  return groups.flatMap(({ name, nodes }) => {
    if (typeof name !== "string" || name === "" || names.has(name) || !Array.isArray(nodes)) return [];
    const own = [...new Set(nodes)].filter((node) => isHeadOrMlp(node) && !taken.has(node));
    for (const node of own) taken.add(node);
    names.add(name);
    return own.length === 0 ? [] : [{ name, nodes: own }];
  });
}

/** Heads and MLPs can be taken together; the embedding and the logits stand for themselves. */
export function isHeadOrMlp(node: unknown): node is string {
  const kind = typeof node === "string" ? readNode(node)?.kind : undefined;
  return kind === "head" || kind === "mlp";
}

/** Edges with those of groups merged, and those inside a group left out, in the order of the edges. */
export function mergeEdges(edges: readonly Edge[], groups: readonly CircuitGroup[]): MergedEdge[] {
  const groupOf = new Map(groups.flatMap((group) => group.nodes.map((node) => [node, groupName(group)] as const)));
  const merged = new Map<string, MergedEdge>();
  for (const edge of edges) {
    const [source, destination] = [edge.from, nodeName(edge.to)];
    const [from, to] = [groupOf.get(source) ?? source, groupOf.get(destination) ?? destination];
    if (from === to) continue;
    const input = groupOf.has(destination) ? undefined : readNode(edge.to)?.input;
    const key = `${from}-${to}${input === undefined ? "" : `<${input}>`}`;
    const { score, members } = merged.get(key) ?? { score: 0, members: [] };
    merged.set(key, { from, to, input, score: score + edge.score, members: [...members, edge] });
  }
  return [...merged.values()];
}

/** The groups after a node was put into one, or with "" taken out of its own; a group without members is gone. */
export function withNodeIn(groups: readonly CircuitGroup[], node: string, name: string): CircuitGroup[] {
  const others = groups
    .map((group) => ({ ...group, nodes: group.nodes.filter((each) => each !== node) }))
    .filter((group) => group.nodes.length > 0 || group.name === name);
  if (name === "") return others;
  if (!others.some((group) => group.name === name)) return [...others, { name, nodes: [node] }];
  return others.map((group) => (group.name === name ? { ...group, nodes: [...group.nodes, node] } : group));
}

/** A name that no group has: the wanted one, or that with a number. */
export function freeName(groups: readonly CircuitGroup[], wanted: string): string {
  const taken = new Set(groups.map(({ name }) => name));
  for (let i = 1; ; i++) {
    const name = i === 1 ? wanted : `${wanted} ${i}`;
    if (!taken.has(name)) return name;
  }
}
