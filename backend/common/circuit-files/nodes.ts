import type { Circuit } from "../api/circuits.ts";
import type { Head, HeadShape } from "../heads/head.ts";

/** A node of a circuit's graph. */
export interface GraphNode {
  /** `embed`, `a{layer}.h{head}`, `m{layer}` or `logits`. */
  readonly name: string;
  readonly kind: "embed" | "head" | "mlp" | "logits";
  /** -1 of embed, the number of layers of logits. */
  readonly layer: number;
  readonly head?: number | undefined;
}

/** Nodes that some edges touch, in the order of the computation; embed and logits always. @param layers of the model */
export function circuitNodes(edges: Circuit["edges"], layers: number): GraphNode[] {
  const names = new Set(["embed", "logits", ...edges.flatMap(({ from, to }) => [from, nodeOf(to).name])]);
  const order = ({ kind, head = 0 }: GraphNode): number => (kind === "mlp" ? Number.MAX_SAFE_INTEGER : head);
  return [...names]
    .map((name): GraphNode => {
      if (name === "embed") return { name, kind: "embed", layer: -1 };
      if (name === "logits") return { name, kind: "logits", layer: layers };
      const head = headOfNode(name);
      if (head) return { name, kind: "head", ...head };
      return { name, kind: "mlp", layer: Number(name.slice(1)) };
    })
    .toSorted((a, b) => a.layer - b.layer || order(a) - order(b));
}

/** The heads of a model that none of some edges touches. */
export function headsOutside(edges: Circuit["edges"], shape: Pick<HeadShape, "layers" | "heads">): Head[] {
  return headsOf(shape, edges, false);
}

/** The heads of a model that some edges touch. */
export function headsInside(edges: Circuit["edges"], shape: Pick<HeadShape, "layers" | "heads">): Head[] {
  return headsOf(shape, edges, true);
}

function headsOf(
  { layers, heads }: Pick<HeadShape, "layers" | "heads">,
  edges: Circuit["edges"],
  inside: boolean,
): Head[] {
  const touched = new Set(edges.flatMap(({ from, to }) => [from, nodeOf(to).name]));
  const all = Array.from({ length: layers * heads }, (_, i) => ({ layer: Math.floor(i / heads), head: i % heads }));
  return all.filter(({ layer, head }) => touched.has(`a${layer}.h${head}`) === inside);
}

/** The node that an edge goes into, and the input of it where it is a head's. */
export function nodeOf(to: string): { name: string; input?: string } {
  const parts = /^(.*)<([qkv])>$/.exec(to);
  return parts ? { name: parts[1]!, input: parts[2]! } : { name: to };
}

/** The head that a node is; undefined of others. */
export function headOfNode(name: string): Head | undefined {
  const parts = /^a(\d+)\.h(\d+)$/.exec(name);
  return parts ? { layer: Number(parts[1]), head: Number(parts[2]) } : undefined;
}
