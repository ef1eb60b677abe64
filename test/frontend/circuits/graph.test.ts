import { describe, expect, it } from "vitest";
import { curveSizes, readNode } from "../../../backend/common/circuits.ts";
import { circuitGraph } from "../../../frontend/src/circuits/graph/graph.ts";

const edges = [
  { from: "a0.h1", to: "a1.h0<k>", score: -2 },
  { from: "a1.h0", to: "logits", score: -1 },
  { from: "embed", to: "m0", score: 0.5 },
];

describe("the graph of a circuit", () => {
  it("has layers upwards: what an edge comes from stands below what it goes into", () => {
    for (const { from, to } of circuitGraph(edges, { heads: 2 }).edges) expect(from.y).toBeGreaterThan(to.y);
  });

  it("has one node for a head, whichever of its inputs edges go into", () => {
    const { nodes } = circuitGraph(edges, { heads: 2 });
    expect(nodes.map(({ name }) => name).sort()).toEqual(["a0.h1", "a1.h0", "embed", "logits", "m0"]);
    expect(nodes.flatMap(({ head }) => head ?? []).sort()).toEqual(["0.1", "1.0"]);
  });

  it("leaves a head in its column, whatever else is drawn", () => {
    const column = (some: typeof edges) =>
      circuitGraph(some, { heads: 2 }).nodes.find(({ name }) => name === "a1.h0")!.x;
    expect(column(edges.slice(0, 1))).toBe(column(edges));
  });

  it("is empty without edges", () => {
    expect(circuitGraph([], { heads: 2 })).toMatchObject({ nodes: [], edges: [] });
  });
});

describe("names of a circuit", () => {
  it("are those of the embedding, heads with their inputs, MLPs and logits", () => {
    expect(readNode("a18.h6<q>")).toEqual({ kind: "head", layer: 18, head: 6, input: "q" });
    expect(readNode("m3")).toMatchObject({ kind: "mlp", layer: 3 });
    expect(readNode("a1.h2<o>")).toBeUndefined();
  });

  it("are run at 0, round numbers and all of the edges", () => {
    expect(curveSizes(12)).toEqual([0, 1, 2, 5, 10, 12]);
    expect(curveSizes(0)).toEqual([0]);
  });
});
