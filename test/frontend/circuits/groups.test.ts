import { describe, expect, it } from "vitest";
import { circuitGraph } from "../../../frontend/src/circuits/graph/graph.ts";
import {
  freeName,
  groupCalled,
  mergeEdges,
  soundGroups,
  withNodeIn,
} from "../../../frontend/src/circuits/graph/groups.ts";
import { neighbour } from "../../../frontend/src/circuits/graph/neighbours.ts";
import { areOff } from "../../../frontend/src/circuits/switches.ts";

const edges = [
  { from: "embed", to: "a0.h0<v>", score: -3 },
  { from: "a0.h0", to: "a1.h0<q>", score: -2 },
  { from: "a0.h0", to: "a1.h1<q>", score: 0.5 },
  { from: "a0.h1", to: "a1.h0<k>", score: -1 },
  { from: "a1.h0", to: "a2.h0<v>", score: -1 },
  { from: "a2.h0", to: "logits", score: -4 },
];
const movers = { name: "movers", nodes: ["a1.h0", "a1.h1", "a2.h0"] };

describe("a group of nodes", () => {
  it("is one end of merged edges, with their scores summed and what is inside it left out", () => {
    const merged = mergeEdges(edges, [movers]);
    const named = merged.map(({ from, to, score, members }) => ({ from, to, score, edges: members.length }));
    expect(named).toEqual([
      { from: "embed", to: "a0.h0", score: -3, edges: 1 },
      { from: "a0.h0", to: "group:movers", score: -1.5, edges: 2 },
      { from: "a0.h1", to: "group:movers", score: -1, edges: 1 },
      { from: "group:movers", to: "logits", score: -4, edges: 1 },
    ]);
    const total = edges.reduce((sum, { score }) => sum + score, 0);
    expect(merged.reduce((sum, { score }) => sum + score, 0)).toBeCloseTo(total + 1, 9); // the one inside
  });

  it("is off where all that is merged is off", () => {
    const [, merged] = mergeEdges(edges, [movers]);
    expect(areOff(merged!.members, ["a0.h0-a1.h0<q>"])).toBe(false);
    expect(areOff(merged!.members, ["a0.h0-a1.h0<q>", "a1.h1"])).toBe(true);
  });

  it("is drawn as one node that lists its members, between what it reads and what reads it", () => {
    const { nodes } = circuitGraph(edges, { heads: 2, groups: [movers] });
    const node = (name: string) => nodes.find((each) => each.name === name)!;
    expect(nodes.map(({ name }) => name)).not.toContain("a1.h0");
    expect(node("group:movers")).toMatchObject({ label: "movers", below: "1.0 1.1 2.0", members: movers.nodes });
    expect(node("group:movers").y).toBeLessThan(node("a0.h0").y);
    expect(node("group:movers").y).toBeGreaterThan(node("logits").y);
  });

  it("has a node once: it leaves its group for another, and an empty one is gone", () => {
    const two = withNodeIn([movers], "a1.h1", "others");
    expect(two).toEqual([
      { name: "movers", nodes: ["a1.h0", "a2.h0"] },
      { name: "others", nodes: ["a1.h1"] },
    ]);
    expect(withNodeIn(two, "a1.h1", "movers").map(({ name }) => name)).toEqual(["movers"]);
    expect(withNodeIn(two, "a1.h1", "")).toEqual([two[0]]);
    expect(freeName(two, "movers")).toBe("movers 2");
  });

  it("of an address is read as far as it can be", () => {
    const groups = [
      movers,
      { name: "movers", nodes: ["m0"] },
      { name: "x", nodes: ["logits", "a1.h0", "m1", "nonsense"] },
    ];
    expect(soundGroups(groups)).toEqual([movers, { name: "x", nodes: ["m1"] }]);
    expect(soundGroups({} as never)).toEqual([]);
    expect(groupCalled("group:movers", groups)).toBe(movers);
    expect(groupCalled("a1.h0", groups)).toBeUndefined();
  });
});

describe("names of nodes", () => {
  it("stand on the node, with its place below", () => {
    const { nodes } = circuitGraph(edges, { heads: 2, names: { "a0.h0": "previous" } });
    expect(nodes.find(({ name }) => name === "a0.h0")).toMatchObject({ label: "previous", below: "0.0", head: "0.0" });
    expect(nodes.find(({ name }) => name === "a1.h0")).toMatchObject({ label: "1.0", below: "" });
  });
});

describe("the arrow keys", () => {
  const graph = circuitGraph(edges, { heads: 2 });
  const node = (name: string) => graph.nodes.find((each) => each.name === name)!;
  const to = (from: string, key: string) => neighbour(graph, node(from), key)?.name;

  it("go along a row, and to the nearest node of the next row", () => {
    expect(to("a0.h0", "ArrowRight")).toBe("a0.h1");
    expect(to("a0.h1", "ArrowLeft")).toBe("a0.h0");
    expect(to("a0.h1", "ArrowRight")).toBeUndefined();
    expect(to("a0.h1", "ArrowUp")).toBe("a1.h1");
    expect(to("a1.h1", "ArrowDown")).toBe("a0.h1");
    expect(to("logits", "ArrowUp")).toBeUndefined();
    expect(to("a0.h0", "Enter")).toBeUndefined();
  });

  it("reach every node from any other", () => {
    const reached = new Set(["embed"]);
    for (let size = 0; size < reached.size; ) {
      size = reached.size;
      for (const name of [...reached])
        for (const key of ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"]) reached.add(to(name, key) ?? name);
    }
    expect(reached.size).toBe(graph.nodes.length);
  });
});
