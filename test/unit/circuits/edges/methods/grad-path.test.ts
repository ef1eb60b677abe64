import { beforeAll, describe, expect, it } from "vitest";
import { findCircuit } from "../../../../../backend/circuits/edges/find-circuit.ts";
import { initBackend } from "../../../../../backend/runtime/backend.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { circuitOracle, loadFamily } from "../../../../helpers/oracles/circuits.ts";

const FAMILY = "llama-gqa";
const method = "eap-gp";

beforeAll(() => initBackend());

describe("gradients on the way down the slope of the output's distance", () => {
  it("are those of the clean run where the steps are nothing", async () => {
    const model = await loadFamily(FAMILY);
    const pairs = circuitOracle(FAMILY).pairs.slice(0, 2);
    const plain = await findCircuit(model, { pairs, method: "eap" });
    const before = tf.memory().numTensors;
    const near = await findCircuit(model, { pairs, method, params: { steps: 2, length: 1e-6 } });
    expect(tf.memory().numTensors).toBe(before);
    const scores = new Map(plain.edges.map(({ from, to, score }) => [`${from} ${to}`, score]));
    expect(near.edges).toHaveLength(plain.edges.length);
    for (const { from, to, score } of near.edges) expect(score).toBeCloseTo(scores.get(`${from} ${to}`)!, 3);
    model.dispose();
  });

  it("score by kl from the first step on, as it is away from the clean run", async () => {
    const model = await loadFamily(FAMILY);
    const pairs = circuitOracle(FAMILY).pairs.slice(0, 1);
    const { edges, params } = await findCircuit(model, { pairs, method, metric: "kl", params: { steps: 1 } });
    expect(params).toEqual({ steps: 1, length: 1 });
    expect(Math.abs(edges[0]!.score)).toBeGreaterThan(1e-3);
    model.dispose();
  });

  it.each([
    ["length", 0],
    ["length", -1],
    ["steps", 0],
    ["paths", 2],
  ])("refuse %s=%s by name", async (name, value) => {
    const model = await loadFamily(FAMILY);
    const pairs = circuitOracle(FAMILY).pairs.slice(0, 1);
    await expect(findCircuit(model, { pairs, method, params: { [name]: value } })).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringContaining(name),
    });
    model.dispose();
  });
});
