import { beforeAll, describe, expect, it } from "vitest";
import { findCircuit } from "../../../../../backend/circuits/edges/find-circuit.ts";
import { EdgeGraph } from "../../../../../backend/circuits/edges/graph.ts";
import { runCircuit } from "../../../../../backend/circuits/edges/run-circuit.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { initBackend } from "../../../../../backend/runtime/backend.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { LOOKUP } from "../../../../helpers/known-circuits/circuits.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";

function pairOf({ config: { d_vocab } }: Model, seed: number) {
  const [clean] = randomTokens(1, 6, d_vocab, seed) as [number[]];
  return { clean, corrupt: clean.map((id, t) => (t === 2 ? (id + 1) % d_vocab : id)), answer: 5, wrong: 11 };
}

const key = ({ from, to }: { from: string; to: string }) => `${from} ${to}`;

beforeAll(() => initBackend());

describe("greedy removal of edges", () => {
  it("decides on one edge after the other, from the logits back, on what is left", async () => {
    const model = randomModel(smallConfig({ n_layers: 1, n_heads: 2, n_key_value_heads: 2 }));
    const pairs = [pairOf(model, 3), pairOf(model, 4)];
    const threshold = 0.02;
    const graph = new EdgeGraph(model.config);
    let edges = Array.from({ length: graph.size }, (_, edge) => graph.name(edge));
    let last = (await runCircuit(model, { pairs, circuit: { edges } })).metric;
    const stay = new Map<string, number>();
    for (const edge of edges.toReversed()) {
      const rest = edges.filter((other) => other !== edge);
      const { metric } = await runCircuit(model, { pairs, circuit: { edges: rest } });
      if (Math.abs(metric - last) < threshold) [edges, last] = [rest, metric];
      else stay.set(key(edge), metric - last);
    }
    expect(stay.size).toBeGreaterThan(1);
    expect(stay.size).toBeLessThan(graph.size);
    const before = tf.memory().numTensors;
    const circuit = await findCircuit(model, { pairs, method: "acdc", params: { threshold } });
    expect(tf.memory().numTensors).toBe(before);
    expect(circuit.edges.map(key).toSorted()).toEqual([...stay.keys()].toSorted());
    for (const edge of circuit.edges) expect(edge.score).toBeCloseTo(stay.get(key(edge))!, 4);
    model.dispose();
  });

  it("begins with a shortlist where one is given", async () => {
    const model = LOOKUP.model();
    const { pairs } = LOOKUP;
    const list = await findCircuit(model, { pairs, method: "eap-ig", edges: 10 });
    const circuit = await findCircuit(model, { pairs, method: "acdc", params: { threshold: 0.1 }, edgesFrom: list });
    expect(circuit.edges.map(({ from, to }) => `${from} -> ${to}`).toSorted()).toEqual([...LOOKUP.edges].toSorted());
    expect(circuit).toMatchObject({ method: "acdc", params: { threshold: 0.1 }, total: list.total });
    model.dispose();
  });

  it("is refused of more edges than may take a run each", async () => {
    const model = randomModel(smallConfig({ n_layers: 10 }));
    const refused = findCircuit(model, { pairs: [pairOf(model, 3)], method: "acdc" });
    await expect(refused).rejects.toMatchObject({ kind: "usage", field: "edgesFrom" });
    model.dispose();
  });
});
