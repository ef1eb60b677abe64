import { beforeAll, describe, expect, it } from "vitest";
import { findCircuit } from "../../../../../backend/circuits/edges/find-circuit.ts";
import { runCircuit } from "../../../../../backend/circuits/edges/run-circuit.ts";
import type { ModelConfig } from "../../../../../backend/models/config.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { initBackend } from "../../../../../backend/runtime/backend.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";
import { loadFamily } from "../../../../helpers/oracles/circuits.ts";

function pairOf({ config: { d_vocab } }: Model, length = 7) {
  const [clean] = randomTokens(1, length, d_vocab, 3) as [number[]];
  const corrupt = clean.map((id, t) => (t === 2 || t === 5 ? (id + 1) % d_vocab : id));
  return { clean, corrupt, answer: 5, wrong: 11 };
}

const method = "eap-ig-activations";

beforeAll(() => initBackend());

describe("gradients along the way of a layer's own outputs", () => {
  it.each(["gemma2", "gpt_neox", "llama-gqa"])("are in one step those of the clean run: %s", async (name) => {
    const model = await loadFamily(name);
    const pairs = [pairOf(model)];
    const before = tf.memory().numTensors;
    const own = await findCircuit(model, { pairs, method, params: { steps: 1 } });
    expect(tf.memory().numTensors).toBe(before);
    const plain = await findCircuit(model, { pairs, method: "eap" });
    const scores = new Map(plain.edges.map(({ from, to, score }) => [`${from} ${to}`, score]));
    expect(own.edges).toHaveLength(plain.edges.length);
    for (const { from, to, score } of own.edges) expect(score).toBeCloseTo(scores.get(`${from} ${to}`)!, 4);
    model.dispose();
  });

  it.each([
    ["one after the other", {}],
    ["side by side", { parallel_attn_mlp: true }],
    ["without MLPs", { attn_only: true }],
  ] satisfies [string, Partial<ModelConfig>][])(
    "make the edges out of a layer's heads, or its MLP, add up to what corrupting them does: attention and MLP %s",
    async (_, config) => {
      const model = randomModel(smallConfig({ n_layers: 2, ...config }));
      const pairs = [pairOf(model)];
      const [few, many] = [
        await findCircuit(model, { pairs, method, params: { steps: 8 } }),
        await findCircuit(model, { pairs, method, params: { steps: 16 } }),
      ];
      for (const group of [/^embed$/, /^a0\./, /^a1\./, ...(model.config.attn_only ? [] : [/^m0$/, /^m1$/])]) {
        const of = ({ edges }: typeof few) => edges.filter(({ from }) => group.test(from));
        const sum = (circuit: typeof few) => of(circuit).reduce((total, { score }) => total + score, 0);
        // The sum over so many steps is off by half a step's change of the gradient, which twice the steps halve.
        const limit = 2 * sum(many) - sum(few);
        const without = of(few).map(({ from, to }) => ({ from, to }));
        const { metric, clean } = await runCircuit(model, { pairs, circuit: { without } });
        expect(Math.abs(metric - clean)).toBeGreaterThan(1e-3);
        expect(Math.abs(limit - (metric - clean))).toBeLessThan(0.02 * Math.abs(metric - clean) + 1e-4);
      }
      model.dispose();
    },
  );
});
