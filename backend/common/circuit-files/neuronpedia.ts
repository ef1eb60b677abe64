import type { DrawnCircuit } from "./graphs.ts";
import { circuitNodes, nodeOf } from "./nodes.ts";

/** The prompt that a graph is shown over. */
export interface GraphPrompt {
  readonly text: string;
  /** As they are shown. */
  readonly tokens: readonly string[];
  /** Word of the answer, and its probability. */
  readonly answer: string;
  readonly probability: number;
}

/**
 * A circuit as a Neuronpedia attribution graph (schema 1.0.0). Its nodes stand at the last position, since a circuit's edges are
 * sums over positions; edges into the inputs of one head are added up. Groups are its supernodes, whose members it wants pinned.
 * @param slug name of the graph, letters, digits and hyphens
 */
export function neuronpediaGraph(
  { edges, layers, ref, names = {}, groups = [] }: DrawnCircuit,
  prompt: GraphPrompt,
  slug: string,
): unknown {
  const last = prompt.tokens.length - 1;
  const links = new Map<string, { source: string; target: string; weight: number }>();
  for (const { from, to, score } of edges) {
    const target = nodeOf(to).name;
    const key = `${from} ${target}`;
    const link = links.get(key) ?? { source: from, target, weight: 0 };
    // A score is what corrupting the edge does; a weight is what the edge does.
    link.weight -= score;
    links.set(key, link);
  }
  const influence = (name: string): number =>
    [...links.values()].filter(({ source }) => source === name).reduce((sum, { weight }) => sum + Math.abs(weight), 0);
  const nodes = circuitNodes(edges, layers);
  const there = new Set(nodes.map(({ name }) => name));
  const supernodes = groups
    .map(({ name, nodes: members }) => [name, ...members.filter((member) => there.has(member))])
    .filter(({ length }) => length > 1);
  const pinnedIds = [
    ...new Set([...supernodes.flatMap(([, ...members]) => members), ...Object.keys(names).filter((n) => there.has(n))]),
  ];
  const TYPES = { embed: "embedding", head: "attention head", mlp: "mlp", logits: "logit" } as const;
  return {
    metadata: {
      slug,
      scan: ref,
      prompt: prompt.text,
      prompt_tokens: prompt.tokens,
      info: { creator_name: "headscope", source: "circuit of attention heads and MLPs" },
    },
    qParams: pinnedIds.length > 0 ? { pinnedIds, supernodes } : {},
    nodes: nodes.map(({ name, kind, layer, head }) => ({
      node_id: name,
      feature: head ?? null,
      layer: kind === "embed" ? "E" : String(kind === "logits" ? layers : layer),
      ctx_idx: last,
      feature_type: TYPES[kind],
      jsNodeId: name,
      clerp: kind === "logits" ? `${prompt.answer} (p=${prompt.probability.toFixed(3)})` : (names[name] ?? name),
      influence: influence(name),
    })),
    links: [...links.values()],
  };
}
