import { beforeAll, describe, expect, it } from "vitest";
import { findCircuit } from "../../../../../backend/circuits/edges/find-circuit.ts";
import { runCircuit } from "../../../../../backend/circuits/edges/run-circuit.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { initBackend } from "../../../../../backend/runtime/backend.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { randomTokens } from "../../../../helpers/models.ts";
import { loadFamily } from "../../../../helpers/oracles/circuits.ts";

function pairOf({ config: { d_vocab } }: Model, length = 7) {
  const [clean] = randomTokens(1, length, d_vocab, 3) as [number[]];
  const corrupt = clean.map((id, t) => (t === 2 || t === 5 ? (id + 1) % d_vocab : id));
  return { clean, corrupt, answer: 5, wrong: 11 };
}

const method = "eap-ig-activations";

beforeAll(() => initBackend());

describe.each([
  ["one after the other", "llama-gqa"],
  ["side by side", "gpt_neox"],
])("gradients along the way of a layer's own outputs, attention and MLP %s", (_, name) => {
  it("are in one step those of the clean run", async () => {
    const model = await loadFamily(name);
    const pairs = [pairOf(model)];
    const plain = await findCircuit(model, { pairs, method: "eap" });
    const before = tf.memory().numTensors;
    const own = await findCircuit(model, { pairs, method, params: { steps: 1 } });
    expect(tf.memory().numTensors).toBe(before);
    const scores = new Map(plain.edges.map(({ from, to, score }) => [`${from} ${to}`, score]));
    expect(own.edges).toHaveLength(plain.edges.length);
    for (const { from, to, score } of own.edges) expect(score).toBeCloseTo(scores.get(`${from} ${to}`)!, 4);
    model.dispose();
  });

  it("make the edges out of a layer's heads, or its MLP, add up to what corrupting them does", async () => {
    const model = await loadFamily(name);
    const pairs = [pairOf(model)];
    const [few, many] = [
      await findCircuit(model, { pairs, method, params: { steps: 8 } }),
      await findCircuit(model, { pairs, method, params: { steps: 16 } }),
    ];
    for (const group of [/^embed$/, /^a0\./, /^a1\./, /^m0$/, /^m1$/]) {
      const of = ({ edges }: typeof few) => edges.filter(({ from }) => group.test(from));
      const sum = (circuit: typeof few) => of(circuit).reduce((total, { score }) => total + score, 0);
      // The sum over so many steps is off by half a step's change of the gradient, which twice the steps halve.
      const limit = 2 * sum(many) - sum(few);
      const without = of(few).map(({ from, to }) => ({ from, to }));
      const { metric, clean } = await runCircuit(model, { pairs, circuit: { without } });
      const effect = metric - clean;
      expect(Math.abs(limit - effect)).toBeLessThan(0.03 * Math.abs(effect) + 1e-4);
    }
    model.dispose();
  });
});
