import { beforeAll, describe, expect, it } from "vitest";
import { findCircuit } from "../../../../backend/circuits/edges/find-circuit.ts";
import { EdgeGraph } from "../../../../backend/circuits/edges/graph.ts";
import { runCircuit } from "../../../../backend/circuits/edges/run-circuit.ts";
import { evaluateCircuit } from "../../../../backend/circuits/evaluation/evaluate.ts";
import { pruneCircuit } from "../../../../backend/circuits/evaluation/prune.ts";
import { randomLike } from "../../../../backend/circuits/evaluation/random-circuits.ts";
import { evaluationReport } from "../../../../backend/circuits/evaluation/report.ts";
import { circuitEvaluation } from "../../../../backend/common/api/circuits.ts";
import { reportSchema } from "../../../../backend/common/figures/report.ts";
import { Random } from "../../../../backend/common/random.ts";
import { createReport } from "../../../../backend/reports/report.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { INDUCTION, LOOKUP, SKIP } from "../../../helpers/known-circuits/circuits.ts";

beforeAll(() => initBackend());

const keys = (edges: readonly { from: string; to: string }[]) => edges.map(({ from, to }) => `${from} -> ${to}`);

describe("the evaluation of a circuit that was written by hand", () => {
  it.each([INDUCTION, SKIP, LOOKUP])(
    "says that it is faithful, complete, minimal and better than chance: $name",
    async (known) => {
      const model = known.model();
      const { pairs, edges } = known;
      const circuit = await findCircuit(model, { pairs, method: "eap-ig" });
      const before = tf.memory().numTensors;
      const evaluation = await evaluateCircuit(model, {
        pairs,
        circuit,
        edges: edges.length,
        others: { again: pairs },
        draws: 5,
        resamples: 50,
      });
      expect(tf.memory().numTensors).toBe(before);
      expect(circuitEvaluation.parse(JSON.parse(JSON.stringify(evaluation)))).toEqual(
        JSON.parse(JSON.stringify(evaluation)),
      );
      expect(evaluation.faithfulness.value).toBeCloseTo(1, 2);
      expect(evaluation.completeness.value).toBeCloseTo(1, 2);
      expect(evaluation.minimality).toMatchObject({ tried: edges.length, needed: 1 });
      expect(evaluation.others["again"]!.value).toBeCloseTo(evaluation.faithfulness.value, 5);
      const verdicts = Object.fromEntries(evaluation.verdicts.map(({ name, verdict }) => [name, verdict]));
      expect(verdicts).toMatchObject({ faithful: "holds", complete: "holds", minimal: "holds", chosen: "holds" });
      const report = createReport(evaluationReport(evaluation, "headscope circuit evaluate"));
      expect(reportSchema.parse(report).claims.map(({ verdict }) => verdict)).toEqual(Object.values(verdicts));
      model.dispose();
    },
  );

  it("says by template what it keeps, from the same runs, and is robust by the template where it keeps least", async () => {
    const model = SKIP.model();
    const wordings = ["short", "long"];
    const pairs = SKIP.pairs.map((pair, p) => ({ ...pair, template: wordings[p % 2]! }));
    const circuit = await findCircuit(model, { pairs, method: "exact" });
    const part = { ...circuit, edges: circuit.edges.slice(1, 2) };
    const others = Object.fromEntries(
      wordings.map((name) => [name, pairs.filter(({ template }) => template === name)]),
    );
    const work = { pairs, circuit: part, draws: 2, resamples: 20 };
    const evaluation = await evaluateCircuit(model, { ...work, others });
    expect(Object.keys(evaluation.templates!)).toEqual(wordings);
    for (const name of wordings) {
      const { value, low, high, pairs: count } = evaluation.others[name]!;
      expect(evaluation.templates![name]).toEqual({ value: expect.closeTo(value, 5), low: expect.closeTo(low!, 5), high: expect.closeTo(high!, 5), pairs: count }); // biome-ignore format: one document
    }
    const least = wordings.toSorted((a, b) => evaluation.templates![a]!.value - evaluation.templates![b]!.value)[0]!;
    const robust = evaluation.verdicts.find(({ name }) => name === "robust")!;
    expect(robust).toMatchObject({ why: expect.stringMatching(new RegExp(`of ${least}$`)) });
    const claim = evaluationReport(evaluation, "headscope circuit evaluate").claims.find(({ id }) => id === "robust")!;
    expect(claim.measured["value"]).toBe(evaluation.templates![least]!.value);
    const one = await evaluateCircuit(model, { ...work, pairs: pairs.map((pair) => ({ ...pair, template: "short" })) });
    expect("templates" in one).toBe(false);
    expect(one.verdicts.map(({ name }) => name)).not.toContain("robust");
    model.dispose();
  });

  it("says of half of a circuit that it is neither faithful nor complete", async () => {
    const model = LOOKUP.model();
    const { pairs } = LOOKUP;
    const circuit = await findCircuit(model, { pairs, method: "exact" });
    const half = { ...circuit, edges: circuit.edges.slice(1) };
    const { faithfulness, verdicts } = await evaluateCircuit(model, { pairs, circuit: half, draws: 3, resamples: 20 });
    expect(faithfulness.value).toBeLessThan(0.2);
    expect(verdicts.find(({ name }) => name === "faithful")!.verdict).toBe("does not hold");
    model.dispose();
  });
});

describe("pruning", () => {
  it.each([INDUCTION, SKIP, LOOKUP])("leaves of all edges those that were written by hand: $name", async (known) => {
    const model = known.model();
    const { pairs } = known;
    const circuit = await findCircuit(model, { pairs, method: "eap-ig" });
    const totals: number[] = [];
    const { edges, pruned } = await pruneCircuit(model, {
      pairs,
      circuit,
      faithfulness: 0.95,
      progress: (_, total) => totals.push(total),
    });
    expect(totals, "the runs that are left at the most are known from the first on and only fall").toEqual(
      totals.toSorted((a, b) => b - a),
    );
    expect(keys(edges).toSorted()).toEqual([...known.edges].toSorted());
    expect(pruned.from).toBe(circuit.edges.length);
    const { faithfulness } = await runCircuit(model, { pairs, circuit: { edges } });
    expect(pruned.faithfulness).toBeCloseTo(faithfulness!, 4);
    model.dispose();
  });

  it("refuses a budget that the whole circuit does not reach", async () => {
    const model = LOOKUP.model();
    const { pairs } = LOOKUP;
    const circuit = await findCircuit(model, { pairs, method: "eap" });
    const poor = { ...circuit, edges: circuit.edges.slice(-3) };
    const pruned = pruneCircuit(model, { pairs, circuit: poor, faithfulness: 0.5 });
    await expect(pruned).rejects.toMatchObject({ kind: "usage", field: "faithfulness" });
    model.dispose();
  });
});

describe("random circuits of a circuit's size", () => {
  it("have as many edges into every layer's heads, every MLP and the logits", () => {
    const graph = new EdgeGraph({ n_layers: 3, n_heads: 4, attn_only: false });
    const random = new Random(4);
    const edges = Array.from({ length: graph.size }, (_, edge) => edge).filter(() => random.integer(0, 5) === 0);
    const drawn = randomLike(graph, edges, random);
    const groups = (list: readonly number[]) => {
      const counts: Record<string, number> = {};
      for (const edge of list) {
        const { to } = graph.name(edge);
        const group = to.replace(/\.h\d+<[qkv]>$/, "");
        counts[group] = (counts[group] ?? 0) + 1;
      }
      return counts;
    };
    expect(new Set(drawn).size).toBe(edges.length);
    expect(groups(drawn)).toEqual(groups(edges));
    expect(drawn).not.toEqual(edges);
  });
});
