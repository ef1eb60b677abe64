import { beforeAll, describe, expect, it } from "vitest";
import { type FindCircuitOptions, findCircuit } from "../../../../../backend/circuits/edges/find-circuit.ts";
import { runCircuit } from "../../../../../backend/circuits/edges/run-circuit.ts";
import { patch } from "../../../../../backend/circuits/patching/patch.ts";
import { circuitSchema } from "../../../../../backend/common/api/circuits.ts";
import { initBackend } from "../../../../../backend/runtime/backend.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { INDUCTION, KNOWN_CIRCUITS, LOOKUP } from "../../../../helpers/known-circuits/circuits.ts";

beforeAll(() => initBackend());

/** Heads and MLPs of edges. */
function nodesOf(edges: readonly string[]): Set<string> {
  const names = edges.flatMap((edge) => edge.split(" -> ").map((name) => name.replace(/<[qkv]>$/, "")));
  return new Set(names.filter((name) => name !== "embed" && name !== "logits"));
}

describe("a circuit by nodes", () => {
  it.each(KNOWN_CIRCUITS)("has those of the circuit that was written by hand first: $name", async (known) => {
    const model = known.model();
    const { pairs, edges } = known;
    const truth = nodesOf(edges);
    for (const method of ["eap-ig", "exact"] as const) {
      const before = tf.memory().numTensors;
      const circuit = await findCircuit(model, { pairs, method, level: "node", nodes: truth.size });
      expect(tf.memory().numTensors).toBe(before);
      expect(new Set(circuit.nodes!.map(({ node }) => node))).toEqual(truth);
      expect(circuitSchema.parse(JSON.parse(JSON.stringify(circuit)))).toEqual(JSON.parse(JSON.stringify(circuit)));
      const { faithfulness } = await runCircuit(model, { pairs, circuit });
      expect(faithfulness).toBeCloseTo(1, 2);
    }
    model.dispose();
  });

  it("is all edges between its nodes, those of the strongest first", async () => {
    const model = INDUCTION.model();
    const { pairs } = INDUCTION;
    const all = await findCircuit(model, { pairs, method: "exact", level: "node" });
    expect(all.edges).toHaveLength(all.total);
    const { nodes, edges } = await findCircuit(model, { pairs, method: "exact", level: "node", nodes: 1 });
    const names = [nodes![0]!.node, "embed", "logits"];
    const between = all.edges.filter(
      ({ from, to }) => names.includes(from) && names.includes(to.replace(/<[qkv]>$/, "")),
    );
    const keys = (list: typeof edges) => list.map(({ from, to }) => `${from} ${to}`).toSorted();
    expect(keys(edges)).toEqual(keys(between));
    expect(keys(all.edges.slice(0, edges.length))).toEqual(keys(edges));
    model.dispose();
  });

  it("scores a node by what patching its output does, or by attribution patching of it", async () => {
    const model = INDUCTION.model();
    const pairs = INDUCTION.pairs.slice(0, 2);
    for (const [own, method] of [
      ["exact", "exact"],
      ["eap", "attribution"],
    ] as const) {
      const { nodes } = await findCircuit(model, { pairs, method: own, level: "node" });
      const { patched, clean } = await patch(model, { pairs, node: "z", by: "head", direction: "noise", method });
      const scores = new Map(nodes!.map(({ node, score }) => [node, score]));
      for (const [layer, heads] of patched.entries())
        for (const [head, value] of heads.entries())
          expect(scores.get(`a${layer}.h${head}`)).toBeCloseTo(value - clean, 4);
    }
    model.dispose();
  });

  it.each([
    [{ method: "acdc", level: "node" }, "level"],
    [{ method: "eap", level: "node", edges: 5 }, "edges"],
    [{ method: "eap", nodes: 5 }, "nodes"],
    [{ method: "exact", level: "node", edgesFrom: { edges: [] } }, "edgesFrom"],
  ] satisfies [Omit<FindCircuitOptions, "pairs">, string][])(
    "refuses what does not go with nodes: %j",
    async (options, field) => {
      const model = LOOKUP.model();
      const refused = findCircuit(model, { pairs: LOOKUP.pairs, ...options });
      await expect(refused).rejects.toMatchObject({ kind: "usage", field });
      model.dispose();
    },
  );
});
