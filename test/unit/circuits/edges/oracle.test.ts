import { beforeAll, describe, expect, it } from "vitest";
import { findCircuit } from "../../../../backend/circuits/edges/find-circuit.ts";
import { circuitCurve, runCircuit } from "../../../../backend/circuits/edges/run-circuit.ts";
import { EDGE_GROUPS } from "../../../../backend/common/words.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { circuitOracle, FAMILIES, loadFamily, ORACLE_METHODS } from "../../../helpers/oracles/circuits.ts";

const TOLERANCE = 2e-4;

/** The oracle's sums hold as many edges as many scores, each of which is rounded. */
const near = (actual: number, expected: number, terms = 1) =>
  expect(Math.abs(actual - expected)).toBeLessThan(TOLERANCE * Math.sqrt(terms));

beforeAll(() => initBackend());

describe.each(FAMILIES)("edges of the family %s are PyTorch's", (name) => {
  const oracle = circuitOracle(name);
  const names = oracle.graph!.edges;
  const edge = (place: number | string) => {
    const [from, to] = (typeof place === "number" ? names[place]! : place).split("->") as [string, string];
    return { from, to };
  };
  let model: Model;
  beforeAll(async () => {
    model = await loadFamily(name);
  });

  it.each(ORACLE_METHODS)("by %s", async (method) => {
    // Means over several pairs are the same code in every family, and gradients at their lengths take seconds to compile.
    const several = method === "exact" || name === "llama-gqa";
    const { pairs: own, clean, corrupt, total, scores, totals } = oracle.edges.at(several ? -1 : 0)!;
    const pairs = own.map((p) => oracle.pairs[p]!);
    const circuit = await findCircuit(model, { pairs, method, edges: "all" });
    near(circuit.clean, clean);
    near(circuit.corrupt, corrupt);
    expect([circuit.total, circuit.edges.length]).toEqual([total, names.length]);
    const found = new Map(circuit.edges.map(({ from, to, score }) => [`${from}->${to}`, score]));
    for (const [e, score] of scores[method].entries()) near(found.get(names[e]!)!, score);
    for (const group of EDGE_GROUPS) {
      const [ours, theirs] = [circuit.totals[group]!, totals[method]![group]!];
      expect(ours.edges).toBe(theirs.edges);
      near(ours.sum, theirs.sum, ours.edges);
      near(ours.sumAbs, theirs.sumAbs, ours.edges);
    }
  });

  it("in circuits' runs, between the clean run with all and the corrupt one with none", async () => {
    const { runs, curve, pairs: own } = oracle.circuit;
    const pairs = own.map((p) => oracle.pairs[p]!);
    for (const { edges, without, metric, faithfulness, count } of runs) {
      const circuit = edges ? { edges: edges.map(edge) } : { without: without!.map(edge) };
      const result = await runCircuit(model, { pairs, circuit });
      near(result.metric, metric);
      near(result.faithfulness!, faithfulness);
      expect(result.edges).toBe(count);
    }
    const circuit = { edges: curve.order.map(edge) };
    const result = await circuitCurve(model, { pairs, circuit, sizes: curve.sizes });
    near(result.clean, curve.clean);
    near(result.corrupt, curve.corrupt);
    expect(result.curve.map(({ edges }) => edges)).toEqual(curve.curve.map(({ edges }) => edges));
    for (const [i, { metric, faithfulness, share }] of curve.curve.entries()) {
      near(result.curve[i]!.metric, metric);
      near(result.curve[i]!.faithfulness!, faithfulness);
      near(result.curve[i]!.share, share);
    }
    near(result.cpr!, curve.cpr);
    near(result.cmd!, curve.cmd);
    const whole = await runCircuit(model, { pairs, circuit: { without: [] } });
    const none = await runCircuit(model, { pairs, circuit: { edges: [] } });
    expect(Math.abs(whole.metric - whole.clean)).toBeLessThan(1e-4);
    expect(Math.abs(none.metric - none.corrupt)).toBeLessThan(1e-4);
  });
});
