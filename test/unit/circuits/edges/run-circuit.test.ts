import { beforeAll, describe, expect, it } from "vitest";
import { EdgeGraph } from "../../../../backend/circuits/edges/graph.ts";
import { circuitCurve, runCircuit } from "../../../../backend/circuits/edges/run-circuit.ts";
import type { TokenPair } from "../../../../backend/circuits/pairs.ts";
import { patchPaths } from "../../../../backend/circuits/patching/path.ts";
import { Random } from "../../../../backend/common/random.ts";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { toyInduction } from "../../../../backend/models/sources/constructed.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { referenceCircuit } from "./reference-circuit.ts";

/** A pair of prompts that differ at two places. */
function pairOf({ config: { d_vocab } }: Model, length = 9, seed = 3): TokenPair {
  const [clean] = randomTokens(1, length, d_vocab, seed) as [number[]];
  const corrupt = clean.map((id, t) => (t === 2 || t === 5 ? (id + 1) % d_vocab : id));
  return { clean, corrupt, answer: 5, wrong: 11 };
}

/** About half of the edges of a graph, drawn. */
function drawn(graph: EdgeGraph, seed: number): { from: string; to: string }[] {
  const random = new Random(seed);
  return Array.from({ length: graph.size }, (_, edge) => graph.name(edge)).filter(() => random.integer(0, 2) === 0);
}

beforeAll(() => initBackend());

describe("a circuit's run where norms, biases and heads meet", () => {
  const cases: [string, Partial<ModelConfig>][] = [
    ["norms over all heads' queries and keys, grouped", { qk_norm: "all", norm_placement: "post" }],
    ["norms around attention and MLP", { norm_placement: "both", attn_scores_soft_cap: 5, output_logits_soft_cap: 3 }],
    ["attention alone", { attn_only: true }],
    ["parallel blocks", { parallel_attn_mlp: true, window_size: 4 }],
  ];
  it.each(cases)("is what plain arithmetic says: %s", async (_, changes) => {
    const model = randomModel(smallConfig(changes));
    const graph = new EdgeGraph(model.config);
    const pair = pairOf(model);
    const edges = drawn(graph, 2);
    const names = new Set(edges.map(({ from, to }) => `${from} ${to}`));
    const { metric } = await runCircuit(model, { pairs: [pair], circuit: { edges } });
    const expected = referenceCircuit(model, pair, (from, to) => names.has(`${from} ${to}`));
    expect(Math.abs(metric - expected)).toBeLessThan(2e-4);
    model.dispose();
  });

  it("holds the output bias behind a norm that follows attention to the scale of its own run", async () => {
    const model = randomModel(smallConfig({ norm_placement: "post" }));
    model.weights.blocks.forEach((block, l) => {
      block.oBias = tf.tensor1d(Array.from({ length: model.config.d_model }, (_, i) => Math.sin(i + l)));
    });
    const pair = pairOf(model);
    const edges = drawn(new EdgeGraph(model.config), 4);
    const names = new Set(edges.map(({ from, to }) => `${from} ${to}`));
    const { metric } = await runCircuit(model, { pairs: [pair], circuit: { edges } });
    const expected = referenceCircuit(model, pair, (from, to) => names.has(`${from} ${to}`));
    expect(Math.abs(metric - expected)).toBeLessThan(2e-4);
    const none = await runCircuit(model, { pairs: [pair], circuit: { edges: [] } });
    expect(Math.abs(none.metric - none.corrupt)).toBeLessThan(1e-4);
    model.dispose();
  });
});

describe("the curve of a circuit", () => {
  it("runs the first edges of the list, and its areas are trapezoids up to all edges", async () => {
    const model = randomModel(smallConfig());
    const graph = new EdgeGraph(model.config);
    const pairs = [pairOf(model, 9, 3), pairOf(model, 12, 4)];
    const edges = drawn(graph, 5);
    const sizes = [40, 10, edges.length];
    const { curve, cpr, cmd, clean, corrupt } = await circuitCurve(model, { pairs, circuit: { edges }, sizes });
    expect(curve.map((point) => point.edges)).toEqual([10, 40, edges.length]);
    for (const { edges: n, metric, share, faithfulness } of curve) {
      const alone = await runCircuit(model, { pairs, circuit: { edges }, edges: n });
      expect(metric).toBeCloseTo(alone.metric, 4);
      expect(share).toBeCloseTo(n / graph.size, 10);
      expect(faithfulness).toBeCloseTo((metric - corrupt) / (clean - corrupt), 6);
    }
    const points = [...curve.map((p) => [p.share, p.faithfulness!] as const), [1, 1] as const];
    const area = (f: (y: number) => number) =>
      points.slice(1).reduce((sum, [x, y], i) => sum + ((x - points[i]![0]) * (f(y) + f(points[i]![1]))) / 2, 0);
    expect(cpr).toBeCloseTo(
      area((y) => y),
      6,
    );
    expect(cmd).toBeCloseTo(
      area((y) => Math.abs(1 - y)),
      6,
    );
    model.dispose();
  });
});

describe("what is no circuit of the model", () => {
  const edge = { from: "embed", to: "logits" };
  it.each([
    ["an edge that goes back", { edges: [{ from: "a1.h0", to: "a0.h0<q>" }] }, "input", /a1\.h0 -> a0\.h0<q>/],
    ["an edge twice", { edges: [edge, edge] }, "input", /embed -> logits is listed twice/],
    ["both ways of naming it", { edges: [edge], without: [edge] }, "input", /"edges" or "without"/],
    ["neither", {}, "input", /"edges" or "without"/],
    ["a list", [edge], "input", /circuit/],
    ["another format", { format: "headscope.head-mask/1", edges: [] }, "input", /head-mask/],
    ["another number of edges", { edges: [edge], total: 12 }, "mismatch", /12 edges/],
  ])("is refused: %s", async (_, circuit, kind, message) => {
    const model = toyInduction();
    const run = runCircuit(model, { pairs: [{ ...pairOf(model) }], circuit });
    await expect(run).rejects.toMatchObject({ kind, message: expect.stringMatching(message) });
    model.dispose();
  });

  it("is refused when it was found in a model with other weights", async () => {
    const model = toyInduction();
    const other = { ref: "x", digest: `sha256:${"1".repeat(64)}`, layers: 2, heads: 4, kvHeads: 4 };
    const circuit = { format: "headscope.circuit/1", model: other, edges: [edge] };
    await expect(runCircuit(model, { pairs: [pairOf(model)], circuit })).rejects.toMatchObject({ kind: "mismatch" });
    model.dispose();
  });

  it("has no more edges than it lists", async () => {
    const model = toyInduction();
    const run = runCircuit(model, { pairs: [pairOf(model)], circuit: { edges: [edge] }, edges: 2 });
    await expect(run).rejects.toMatchObject({ kind: "usage", field: "edges" });
    model.dispose();
  });
});

describe("a run without one edge", () => {
  it("is path patching along it with the corrupt prompt's output", async () => {
    const model = toyInduction();
    const pair = { clean: [0, 20, 7, 9, 33, 41, 52, 7], corrupt: [0, 20, 61, 9, 33, 41, 52, 7], answer: 9, wrong: 33 };
    const swapped = { ...pair, clean: pair.corrupt, corrupt: pair.clean };
    const circuit = { without: [{ from: "a0.h0", to: "a1.h1<k>" }] };
    const { metric } = await runCircuit(model, { pairs: [pair], circuit });
    const { patched } = await patchPaths(model, { pairs: [swapped], into: [{ layer: 1, head: 1 }], through: "k" });
    expect(metric).toBeCloseTo(patched[0]![0]!, 3);
    model.dispose();
  });
});
