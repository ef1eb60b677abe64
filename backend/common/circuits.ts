/** A node of a model's graph of edges: the embedding, a head, an MLP, or the logits. */
export interface CircuitNode {
  readonly kind: "embed" | "head" | "mlp" | "logits";
  /** Of heads and MLPs; else 0. */
  readonly layer: number;
  /** Of heads; else 0. */
  readonly head: number;
  /** Input of a head that an edge goes into; absent for what an edge comes from. */
  readonly input?: "q" | "k" | "v" | undefined;
}

/** Reads the end of an edge: embed, a{layer}.h{head}, a{layer}.h{head}<q>, m{layer} or logits; undefined for other text. */
export function readNode(name: string): CircuitNode | undefined {
  if (name === "embed" || name === "logits") return { kind: name, layer: 0, head: 0 };
  const mlp = /^m(\d+)$/.exec(name);
  if (mlp !== null) return { kind: "mlp", layer: Number(mlp[1]), head: 0 };
  const head = /^a(\d+)\.h(\d+)(?:<([qkv])>)?$/.exec(name);
  if (head === null) return undefined;
  return { kind: "head", layer: Number(head[1]), head: Number(head[2]), input: head[3] as CircuitNode["input"] };
}

/** Numbers of edges at which a circuit is run to see its faithfulness: 0, 1, 2, 5, 10, ... and all of them. */
export function curveSizes(edges: number): number[] {
  const rounds = [0, 1, 2, 3].flatMap((power) => [1, 2, 5].map((factor) => factor * 10 ** power));
  return [...new Set([0, ...rounds.filter((size) => size < edges), edges])];
}
