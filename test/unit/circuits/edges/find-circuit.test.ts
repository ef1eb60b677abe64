import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { findCircuit } from "../../../../backend/circuits/edges/find-circuit.ts";
import { EdgeGraph } from "../../../../backend/circuits/edges/graph.ts";
import { runCircuit } from "../../../../backend/circuits/edges/run-circuit.ts";
import { circuitSchema } from "../../../../backend/common/api/circuits.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { toyInduction } from "../../../../backend/models/sources/constructed.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

const load = (name: string) => loadModel(fileURLToPath(new URL(`../../../fixtures/families/${name}`, import.meta.url)));

function pairOf({ config: { d_vocab } }: Model, length = 9, seed = 3) {
  const [clean] = randomTokens(1, length, d_vocab, seed) as [number[]];
  const corrupt = clean.map((id, t) => (t === 2 || t === 5 ? (id + 1) % d_vocab : id));
  return { clean, corrupt, answer: 5, wrong: 11 };
}

beforeAll(() => initBackend());

describe("exact scores", () => {
  it.each(["gemma2", "gpt_neox"])("are the metric without the edge less the clean one: %s", async (name) => {
    const model = await load(name);
    const pairs = [pairOf(model), pairOf(model, 11, 4)];
    const graph = new EdgeGraph(model.config);
    const circuit = await findCircuit(model, { pairs, method: "exact", edges: "all" });
    expect(circuit.edges).toHaveLength(graph.size);
    const scores = new Map(circuit.edges.map(({ from, to, score }) => [`${from} ${to}`, score]));
    const step = Math.floor(graph.size / 12);
    for (let edge = 0; edge < graph.size; edge += step) {
      const without = graph.name(edge);
      const { metric, clean } = await runCircuit(model, { pairs, circuit: { without: [without] } });
      expect(scores.get(`${without.from} ${without.to}`)).toBeCloseTo(metric - clean, 4);
    }
    model.dispose();
  });

  it("are those of the edges that are named, whatever else there is", async () => {
    const model = randomModel(smallConfig());
    const pairs = [pairOf(model)];
    const all = await findCircuit(model, { pairs, method: "exact", edges: "all" });
    const named = all.edges.slice(7, 12);
    const before = tf.memory().numTensors;
    const { edges, total, totals } = await findCircuit(model, { pairs, method: "exact", edgesFrom: { edges: named } });
    expect(tf.memory().numTensors).toBe(before);
    expect(edges.map(({ from, to }) => `${from} ${to}`)).toEqual(named.map(({ from, to }) => `${from} ${to}`));
    edges.forEach(({ score }, i) => {
      expect(score).toBeCloseTo(named[i]!.score, 4);
    });
    expect(total).toBe(all.total);
    expect(Object.values(totals).reduce((sum, group) => sum + group!.edges, 0)).toBe(2 * named.length);
    model.dispose();
  });

  it("put the three edges of the constructed induction circuit's keys and copies first", async () => {
    const model = toyInduction();
    const pair = { clean: [0, 20, 7, 9, 33, 41, 52, 7], corrupt: [0, 20, 61, 9, 33, 41, 52, 7], answer: 9, wrong: 33 };
    const { edges } = await findCircuit(model, { pairs: [pair], method: "exact" });
    const strong = edges.filter(({ score }) => Math.abs(score) > 1).map(({ from, to }) => `${from} -> ${to}`);
    expect(strong.toSorted()).toEqual(["a0.h0 -> a1.h1<k>", "a1.h1 -> logits", "embed -> a0.h0<v>"]);
    for (const { score } of edges.slice(0, 3)) expect(score).toBeLessThan(-1);
    model.dispose();
  });
});

describe("a circuit's document", () => {
  it("follows its schema, by falling size of score, with sums over all edges", async () => {
    const model = randomModel(smallConfig({ n_layers: 2 }));
    const circuit = await findCircuit(model, { pairs: [pairOf(model)], method: "exact", edges: 20 });
    expect(circuitSchema.parse(JSON.parse(JSON.stringify(circuit)))).toEqual(JSON.parse(JSON.stringify(circuit)));
    const sizes = circuit.edges.map(({ score }) => Math.abs(score));
    expect(sizes).toHaveLength(20);
    expect(sizes).toEqual(sizes.toSorted((a, b) => b - a));
    const whole = await findCircuit(model, { pairs: [pairOf(model)], method: "exact" });
    const into = (pattern: RegExp) => whole.edges.filter(({ to }) => pattern.test(to));
    for (const [group, pattern] of [
      ["into k", /<k>$/],
      ["into mlp", /^m/],
      ["into logits", /^logits$/],
    ] as const) {
      const sums = circuit.totals[group]!;
      expect(sums.edges).toBe(into(pattern).length);
      expect(sums.sum).toBeCloseTo(
        into(pattern).reduce((sum, { score }) => sum + score, 0),
        4,
      );
      expect(sums.sumAbs).toBeCloseTo(
        into(pattern).reduce((sum, { score }) => sum + Math.abs(score), 0),
        4,
      );
    }
    model.dispose();
  });

  it("holds all edges up to 5,000 and 1,000 beyond, and exact scores are refused there", async () => {
    const model = randomModel(smallConfig({ n_layers: 10 }));
    const pairs = [pairOf(model)];
    expect(new EdgeGraph(model.config).size).toBeGreaterThan(5_000);
    const refused = findCircuit(model, { pairs, method: "exact" });
    await expect(refused).rejects.toMatchObject({ kind: "usage", field: "edgesFrom" });
    model.dispose();
  });
});
