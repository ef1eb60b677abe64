import { describe, expect, it } from "vitest";
import { loadModel } from "../../../backend/models/load.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { probe } from "../../../probes/index.ts";
import { errorOf } from "../../helpers/errors.ts";
import { fixture } from "../../helpers/fixtures.ts";
import { policyOracle } from "../../helpers/oracles/policies.ts";

const oracle = policyOracle("llama");

describe("the score on the fly", () => {
  it("is kvpress's, with the same prompts as samples", async () => {
    const model = await loadModel(fixture("policies/llama"));
    const tokens = Object.values(oracle.prompts).map(({ ids }) => ids);
    const scores = await probe(model, "on-the-fly", {}, { tokens });
    const { axis, values } = scores.metrics["on-the-fly"]!;
    expect(axis).toBe("kvHeads");
    oracle.onTheFly.forEach((row, layer) => {
      row.forEach((value, head) => {
        expect(values[layer]![head], `${layer}.${head}`).toBeCloseTo(value, 5);
      });
    });
    expect(scores.cost!.forwards).toBe(tokens.length);
    model.dispose();
  });

  it("leaves no tensor behind", async () => {
    const model = await loadModel(fixture("policies/llama"));
    await probe(model, "on-the-fly", { samples: 1, tokens: 40 });
    const before = tf.memory().numTensors;
    await probe(model, "on-the-fly", { samples: 2, tokens: 40 });
    expect(tf.memory().numTensors).toBe(before);
    model.dispose();
  });

  it("is refused for a model that rotates nothing", async () => {
    const toy = await loadModel("toy-induction");
    expect(await errorOf(probe(toy, "on-the-fly"))).toMatchObject({ kind: "unsupported" });
    toy.dispose();
  });
});
