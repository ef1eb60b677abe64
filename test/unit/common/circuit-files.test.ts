import { describe, expect, it } from "vitest";
import type { Circuit } from "../../../backend/common/api/circuits.ts";
import { circuitMask, dotText, graphmlText, neuronpediaGraph } from "../../../backend/common/circuit-files/index.ts";

const circuit = {
  format: "headscope.circuit/1",
  model: { ref: 'a "model" & more', layers: 2, heads: 2, kvHeads: 2 },
  method: "eap",
  params: {},
  clean: 2,
  corrupt: -1,
  total: 40,
  edges: [
    { from: "embed", to: "a0.h1<v>", score: -2 },
    { from: "a0.h1", to: "a1.h0<q>", score: -1 },
    { from: "a0.h1", to: "a1.h0<k>", score: 0.25 },
    { from: "a1.h0", to: "m1", score: -0.5 },
    { from: "m1", to: "logits", score: -3 },
  ],
  totals: {},
} as unknown as Circuit;
const drawn = { edges: circuit.edges, layers: 2, ref: circuit.model!.ref };

describe("a circuit in other formats", () => {
  it("is a Graphviz drawing with a line an edge, by the input that it goes into", () => {
    const text = dotText(drawn);
    expect(text).toMatch(/^digraph "circuit of a \\"model\\" & more" \{/);
    expect(text.match(/->/g)).toHaveLength(5);
    expect(text).toMatch(/"a0\.h1" -> "a1\.h0" \[.*score=-1, label="q"\];/);
  });

  it("is GraphML whose edges join nodes that it declares, with their scores", () => {
    const text = graphmlText(drawn);
    const nodes = [...text.matchAll(/<node id="([^"]+)">/g)].map(([, id]) => id);
    expect(nodes).toEqual(["embed", "a0.h1", "a1.h0", "m1", "logits"]);
    const edges = [...text.matchAll(/<edge id="e\d" source="([^"]+)" target="([^"]+)">(.*)<\/edge>/g)];
    expect(edges).toHaveLength(5);
    for (const [, source, target] of edges) expect(nodes).toEqual(expect.arrayContaining([source, target]));
    expect(text).toContain('<graph id="a &quot;model&quot; &amp; more" edgedefault="directed">');
    expect(edges[2]![3]).toBe('<data key="score">0.25</data><data key="input">k</data>');
  });

  it("keeps names and groups: clusters, data of nodes, and supernodes whose members are pinned", () => {
    const named = {
      ...drawn,
      names: { m1: 'looks "up"' },
      groups: [{ name: "movers & more", nodes: ["a0.h1", "a1.h0", "a1.h1"] }],
    };
    const dot = dotText(named);
    expect(dot).toContain('subgraph "cluster_0" { label="movers & more"; "a0.h1"; "a1.h0" }');
    expect(dot).toContain('"m1" [shape=ellipse, label="looks \\"up\\" (m1)"];');
    const graphml = graphmlText(named);
    expect(graphml.match(/<data key="group">movers &amp; more<\/data>/g)).toHaveLength(2);
    expect(graphml.match(/<data key="name">/g)).toHaveLength(1);
    const prompt = { text: "a", tokens: ["a"], answer: " c", probability: 0.25 };
    const graph = neuronpediaGraph(named, prompt, "mine") as {
      qParams: { supernodes: string[][]; pinnedIds: string[] };
      nodes: { node_id: string; clerp: string }[];
    };
    expect(graph.qParams.supernodes).toEqual([["movers & more", "a0.h1", "a1.h0"]]);
    expect(graph.qParams.pinnedIds.sort()).toEqual(["a0.h1", "a1.h0", "m1"]);
    expect(graph.nodes.find(({ node_id }) => node_id === "m1")!.clerp).toBe('looks "up"');
  });

  it("is a Neuronpedia graph with its required fields, edges into one head added up, weights positive where they help", () => {
    const prompt = { text: "a b", tokens: ["a", " b"], answer: " c", probability: 0.25 };
    const graph = neuronpediaGraph(drawn, prompt, "mine") as {
      metadata: Record<string, unknown>;
      qParams: object;
      nodes: Record<string, unknown>[];
      links: { source: string; target: string; weight: number }[];
    };
    expect(graph.metadata).toMatchObject({ slug: "mine", scan: drawn.ref, prompt: "a b", prompt_tokens: ["a", " b"] });
    const required = ["node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp"];
    for (const node of graph.nodes) expect(Object.keys(node)).toEqual(expect.arrayContaining(required));
    expect(graph.nodes.find(({ node_id }) => node_id === "logits")!["clerp"]).toBe(" c (p=0.250)");
    const ids = graph.nodes.map(({ node_id }) => node_id);
    for (const { source, target } of graph.links) expect(ids).toEqual(expect.arrayContaining([source, target]));
    expect(graph.links).toContainEqual({ source: "a0.h1", target: "a1.h0", weight: 0.75 });
    expect(graph.nodes.some(({ node_id, layer }) => node_id !== "logits" && Number(layer) > 0)).toBe(true);
  });

  it("is a mask that ablates the heads that no edge touches", () => {
    expect(circuitMask(circuit).heads).toEqual([
      ["ablate", "keep"],
      ["keep", "ablate"],
    ]);
  });

  it("is a mask whose KV heads keep everything where an edge touches one of their heads, and stream elsewhere", () => {
    const grouped = { ...circuit, model: { ...circuit.model!, kvHeads: 1 } };
    const mask = circuitMask(grouped, { outside: "stream", sink: 1, recent: 8, source: { circuit: "mine.json" } });
    expect(mask).toMatchObject({ kvHeads: [["retrieval"], ["retrieval"]], sink: 1, recent: 8 });
    expect(mask.source).toEqual({ circuit: "mine.json" });
    const late = { ...grouped, edges: [{ from: "embed", to: "a1.h0<q>", score: 1 }] };
    expect(circuitMask(late, { outside: "stream" }).kvHeads).toEqual([["streaming"], ["retrieval"]]);
  });

  it("refuses a window for heads that are ablated", () => {
    expect(() => circuitMask(circuit, { sink: 4 })).toThrow(expect.objectContaining({ kind: "usage", field: "sink" }));
  });
});
