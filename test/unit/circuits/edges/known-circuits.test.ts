import { beforeAll, describe, expect, it } from "vitest";
import { findCircuit } from "../../../../backend/circuits/edges/find-circuit.ts";
import { SCORERS, type ScoringMethod } from "../../../../backend/circuits/edges/methods/index.ts";
import { runCircuit } from "../../../../backend/circuits/edges/run-circuit.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { KNOWN_CIRCUITS, rocArea } from "../../../helpers/known-circuits/circuits.ts";

beforeAll(() => initBackend());

/** A token's embedding has length 1 here, so that a step of the paper's length would leave nothing of it. */
const PARAMS: Partial<Record<ScoringMethod, Record<string, number>>> = { "eap-gp": { length: 0.1 } };

describe.each(KNOWN_CIRCUITS)("the circuit that was written by hand: $name", ({ model: make, pairs, edges }) => {
  const named = edges.map((edge) => {
    const [from, to] = edge.split(" -> ") as [string, string];
    return { from, to };
  });

  it("is faithful, and so is no circuit without one of its edges", async () => {
    const model = make();
    const { faithfulness, clean, corrupt } = await runCircuit(model, { pairs, circuit: { edges: named } });
    expect(clean).toBeGreaterThan(corrupt + 2);
    expect(faithfulness).toBeCloseTo(1, 2);
    for (const edge of named) {
      const circuit = { edges: named.filter((other) => other !== edge) };
      const { faithfulness } = await runCircuit(model, { pairs, circuit });
      expect(faithfulness).toBeLessThan(0.9);
    }
    model.dispose();
  });

  it.each(Object.keys(SCORERS) as ScoringMethod[])("is found by %s", async (method) => {
    const model = make();
    const circuit = await findCircuit(model, { pairs, method, params: PARAMS[method] ?? {} });
    const scores = new Map(circuit.edges.map(({ from, to, score }) => [`${from} -> ${to}`, Math.abs(score)]));
    expect(rocArea(scores, edges)).toBeGreaterThan(0.98);
    model.dispose();
  });

  it.each(["logit-diff", "kl"] as const)("is what acdc leaves by %s", async (metric) => {
    const model = make();
    const circuit = await findCircuit(model, { pairs, method: "acdc", metric, params: { threshold: 0.1 } });
    expect(circuit.edges.map(({ from, to }) => `${from} -> ${to}`).toSorted()).toEqual([...edges].toSorted());
    model.dispose();
  });
});
