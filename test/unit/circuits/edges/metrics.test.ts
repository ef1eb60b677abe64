import { beforeAll, describe, expect, it } from "vitest";
import { findCircuit } from "../../../../backend/circuits/edges/find-circuit.ts";
import { runCircuit } from "../../../../backend/circuits/edges/run-circuit.ts";
import { evaluateCircuit } from "../../../../backend/circuits/evaluation/evaluate.ts";
import { pruneCircuit } from "../../../../backend/circuits/evaluation/prune.ts";
import { metricValues, pairMetric } from "../../../../backend/circuits/metrics/measure.ts";
import { patch } from "../../../../backend/circuits/patching/patch.ts";
import { METRICS } from "../../../../backend/common/metrics.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { INDUCTION, LOOKUP, rocArea } from "../../../helpers/known-circuits/circuits.ts";

beforeAll(() => initBackend());

describe.each(METRICS)("a circuit by %s", (metric) => {
  it("has the clean prompt's metric with all edges and the corrupt one's with none", async () => {
    const model = LOOKUP.model();
    const pair = LOOKUP.pairs[0]!;
    const [clean, corrupt] = [pair.clean, pair.corrupt].map((row) =>
      forward(model, { tokens: [row], logitsAt: "last" }),
    );
    const expected = [clean!, corrupt!].map(
      ({ logits }) => metricValues(logits!, pairMetric(metric, [pair], clean!.logits))[0]!,
    );
    clean!.dispose();
    corrupt!.dispose();
    const before = tf.memory().numTensors;
    const whole = await runCircuit(model, { pairs: [pair], metric, circuit: { without: [] } });
    const none = await runCircuit(model, { pairs: [pair], metric, circuit: { edges: [] } });
    expect(tf.memory().numTensors).toBe(before);
    expect(Math.abs(expected[0]! - expected[1]!)).toBeGreaterThan(0.1);
    [whole.clean, whole.corrupt].forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i]!, 4);
    });
    expect(whole.metric).toBeCloseTo(expected[0]!, 4);
    expect(none.metric).toBeCloseTo(expected[1]!, 4);
    expect([whole.faithfulness, none.faithfulness]).toEqual([expect.closeTo(1, 3), expect.closeTo(0, 3)]);
    model.dispose();
  });

  it("is found by exact scores, which are the metric without the edge less the clean one", async () => {
    const model = LOOKUP.model();
    const { pairs } = LOOKUP;
    const circuit = await findCircuit(model, { pairs, method: "exact", metric });
    expect(circuit.metric).toBe(metric);
    const scores = new Map(circuit.edges.map(({ from, to, score }) => [`${from} -> ${to}`, Math.abs(score)]));
    expect(rocArea(scores, LOOKUP.edges)).toBe(1);
    const { from, to, score } = circuit.edges[0]!;
    const without = await runCircuit(model, { pairs, metric, circuit: { without: [{ from, to }] } });
    expect(score).toBeCloseTo(without.metric - without.clean, 4);
    // Without a metric, the file's own counts.
    const own = await runCircuit(model, { pairs, circuit, edges: 3 });
    expect(own).toEqual(await runCircuit(model, { pairs, circuit, edges: 3, metric }));
    model.dispose();
  });

  it("is found by eap-ig", async () => {
    const model = INDUCTION.model();
    const { pairs, edges } = INDUCTION;
    const circuit = await findCircuit(model, { pairs, method: "eap-ig", metric });
    const scores = new Map(circuit.edges.map(({ from, to, score }) => [`${from} -> ${to}`, Math.abs(score)]));
    expect(rocArea(scores, edges)).toBeGreaterThan(0.98);
    model.dispose();
  });
});

describe("estimates on the clean run", () => {
  it.each(["logit-diff", "probability-diff", "loss"] as const)(
    "add up to attribution patching by %s",
    async (metric) => {
      const model = INDUCTION.model();
      const pairs = INDUCTION.pairs.slice(0, 2);
      const { edges } = await findCircuit(model, { pairs, method: "eap", metric, edges: "all" });
      const { patched, clean } = await patch(model, {
        ...{ pairs, metric, node: "z", by: "head", direction: "noise", method: "attribution" },
      });
      for (const [layer, heads] of patched.entries())
        for (const [head, value] of heads.entries()) {
          const out = edges.filter(({ from }) => from === `a${layer}.h${head}`);
          expect(out.reduce((sum, { score }) => sum + score, 0)).toBeCloseTo(value - clean, 4);
        }
      model.dispose();
    },
  );

  it("are refused of kl, whose gradient is 0 there", async () => {
    const model = LOOKUP.model();
    for (const params of [{ method: "eap" }, { method: "eap-ig", params: { steps: 1 } }] as const) {
      const refused = findCircuit(model, { pairs: LOOKUP.pairs, metric: "kl", ...params });
      await expect(refused).rejects.toMatchObject({ kind: "usage", field: "metric" });
    }
    model.dispose();
  });
});

describe("a circuit found by kl", () => {
  it("is pruned and evaluated by kl, unless another metric is named", async () => {
    const model = LOOKUP.model();
    const { pairs } = LOOKUP;
    const circuit = await findCircuit(model, { pairs, method: "eap-ig", metric: "kl" });
    const { edges, pruned } = await pruneCircuit(model, { pairs, circuit, faithfulness: 0.95 });
    expect(pruned.metric).toBe("kl");
    expect(edges.map(({ from, to }) => `${from} -> ${to}`).toSorted()).toEqual([...LOOKUP.edges].toSorted());
    const options = { pairs, circuit, edges: LOOKUP.edges.length, draws: 1, resamples: 5 };
    const [own, other] = [
      await evaluateCircuit(model, options),
      await evaluateCircuit(model, { ...options, metric: "loss" }),
    ];
    expect([own.metric, other.metric]).toEqual(["kl", "loss"]);
    for (const { faithfulness } of [own, other]) expect(faithfulness.value).toBeCloseTo(1, 1);
    model.dispose();
  });
});
