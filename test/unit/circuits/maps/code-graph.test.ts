import { describe, expect, it } from "vitest";
import { kMeans } from "../../../../backend/circuits/maps/clusters.ts";
import {
  codeGraph,
  edgeAgreement,
  graphOf,
  placesOf,
  shortestPath,
} from "../../../../backend/circuits/maps/code-graph.ts";
import { Random } from "../../../../backend/common/random.ts";

/** A ring of places: action 0 leads onwards, action 1 back. */
const ring = (places: number) =>
  Int32Array.from({ length: 2 * places }, (_, i) => (Math.floor(i / 2) + (i % 2 === 0 ? 1 : places - 1)) % places);

describe("a transition graph", () => {
  const walks = [
    { nodes: [0, 1, 2], actions: [0, 1] },
    { nodes: [0, 1], actions: [0] },
    { nodes: [0, 2, 2], actions: [0, 0] },
  ];

  it("has for each node and action the nodes that followed, the more frequent first", () => {
    expect(codeGraph(walks, { nodes: 3, actions: 2 }).successors).toEqual([[1, 2], [], [], [2], [2], []]);
  });

  it("leaves out what was seen too seldom, or in too small a share of the times", () => {
    expect(codeGraph(walks, { nodes: 3, actions: 2 }, { least: 2 }).successors).toEqual([[1], [], [], [], [], []]);
    expect(codeGraph(walks, { nodes: 3, actions: 2 }, { share: 0.4 }).successors).toEqual([[1], [], [], [2], [2], []]);
    expect(codeGraph(walks, { nodes: 3, actions: 2 }, { share: 1 / 3 }).successors[0]).toEqual([1, 2]);
    expect(codeGraph(walks, { nodes: 3, actions: 2 }, { most: 1 }).successors).toEqual([[1], [], [], [2], [2], []]);
  });
});

describe("a shortest path", () => {
  it.each([3, 4, 7, 10])("on a ring of %i is as long as the shorter way round", (places) => {
    const graph = graphOf(ring(places), 2);
    for (let goal = 0; goal < places; goal++) {
      const path = shortestPath(graph, 0, goal)!;
      expect(path).toHaveLength(Math.min(goal, places - goal));
      expect(path.reduce((node, action) => graph.successors[2 * node + action]![0]!, 0)).toBe(goal);
    }
  });

  it("takes any of several edges of an action", () => {
    const graph = { nodes: 4, actions: 1, successors: [[1, 2], [], [3], []] };
    expect(shortestPath(graph, 0, 3)).toEqual([0, 0]);
  });

  it("is none where no edge leads, and empty where nothing is to be done", () => {
    const oneWay = graphOf(Int32Array.from([1, 2, -1]), 1);
    expect(shortestPath(oneWay, 0, 2)).toEqual([0, 0]);
    expect(shortestPath(oneWay, 2, 0)).toBeUndefined();
    expect(shortestPath(oneWay, 1, 1)).toEqual([]);
  });
});

describe("the agreement of edges", () => {
  const truth = ring(5);

  it("is whole for the environment itself, also where two nodes stand for each place", () => {
    expect(edgeAgreement(graphOf(truth, 2), Int32Array.from([0, 1, 2, 3, 4]), truth)).toEqual({
      precision: 1,
      recall: 1,
      f1: 1,
    });
    // Node p + 5 is another name of place p.
    const doubled = Int32Array.from({ length: 20 }, (_, i) => truth[i % 10]! + (i % 3 === 0 ? 5 : 0));
    const places = Int32Array.from({ length: 10 }, (_, node) => node % 5);
    expect(edgeAgreement(graphOf(doubled, 2), places, truth).f1).toBe(1);
  });

  it("counts wrong and missing edges", () => {
    const wrong = truth.slice();
    wrong[0] = 3; // leads elsewhere
    wrong[9] = -1; // is missing
    const { precision, recall, f1 } = edgeAgreement(graphOf(wrong, 2), Int32Array.from([0, 1, 2, 3, 4]), truth);
    expect([precision, recall]).toEqual([8 / 9, 8 / 10]);
    expect(f1).toBeCloseTo(16 / 19, 12);
  });

  it("is nothing for a graph without edges", () => {
    const none = edgeAgreement(graphOf(new Int32Array(4).fill(-1), 2), Int32Array.from([0, 1]), truth);
    expect(none).toEqual({ precision: 0, recall: 0, f1: 0 });
  });
});

describe("the places of nodes", () => {
  it("are those at which they were met most often, the smaller one of two", () => {
    const walks = [
      { nodes: [0, 0, 1, 2], places: [4, 4, 1, 3] },
      { nodes: [0, 2], places: [1, 2] },
    ];
    expect([...placesOf(walks, 4)]).toEqual([4, 1, 2, -1]);
  });
});

describe("k-means", () => {
  it("finds clusters that lie far apart, whatever it begins with", () => {
    const random = new Random(5);
    const centres = [[0, 0], [10, 0], [0, 10]];
    const vectors = Float32Array.from({ length: 2 * 90 }, (_, i) => centres[Math.floor(i / 2) % 3]![i % 2]! + 0.1 * random.normal());
    for (let seed = 0; seed < 20; seed++) {
      const { assigned, spread } = kMeans(vectors, 2, 3, new Random(seed));
      const names = [assigned[0], assigned[1], assigned[2]];
      expect(new Set(names).size).toBe(3);
      expect([...assigned]).toEqual(Array.from({ length: 90 }, (_, i) => names[i % 3]));
      expect(spread).toBeGreaterThan(0.01);
      expect(spread).toBeLessThan(0.04); // two numbers of variance 0.01
    }
  });

  it("gives each vector a cluster of its own where there are as many", () => {
    const { assigned, spread } = kMeans(Float32Array.from([1, 5, 9]), 1, 3, new Random(1));
    expect(new Set(assigned).size).toBe(3);
    expect(spread).toBe(0);
  });
}); // biome-ignore format: tables
