import { beforeAll, describe, expect, it } from "vitest";
import { labelledPrompt } from "../../../../backend/circuits/vectors/cases.ts";
import { classify, type Kernel } from "../../../../backend/circuits/vectors/classifiers.ts";
import { linearProbe, wilson } from "../../../../backend/circuits/vectors/linear-probe.ts";
import { Random } from "../../../../backend/common/random.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

/** Inner products of centred points. */
function kernelOf(train: number[][], test: number[][]): Kernel {
  const mean = train[0]!.map((_, d) => train.reduce((sum, x) => sum + x[d]!, 0) / train.length);
  const centred = (points: number[][]): number[][] => points.map((x) => x.map((v, d) => v - mean[d]!));
  const [own, other] = [centred(train), centred(test)];
  const products = (a: number[][]): Float64Array =>
    Float64Array.from(a.flatMap((x) => own.map((y) => x.reduce((sum, v, d) => sum + v * y[d]!, 0))));
  return { train: products(own), test: products(other) };
}

describe("linear classifiers", () => {
  const random = new Random(3);
  // Three clouds in the plane, and points that lie at their centres.
  const centres = [[4, 0], [-2, 3], [-2, -3]]; // biome-ignore format: one line
  const labels = Array.from({ length: 60 }, (_, i) => i % 3);
  const points = labels.map((label) => centres[label]!.map((x) => x + 0.5 * random.normal()));

  it.each(["ridge", "logistic"] as const)(
    "%s tells three clouds apart, and as well with several labellings",
    (method) => {
      const kernel = kernelOf(points, centres);
      const turned = labels.map((label) => (label + 1) % 3);
      expect(classify(method, kernel, [labels, turned], 1)).toEqual([[0, 1, 2], [1, 2, 0]]); // biome-ignore format: one line
    },
  );

  it.each(["ridge", "logistic"] as const)(
    "%s puts the border of two points where it must be, however rare a class is",
    (method) => {
      // On a line at -1 and 1 the border is 0 with as many of both; a thousandfold penalty leaves the frequent class.
      const line = [[-1], [-1], [1], [1]];
      const tested = Array.from({ length: 9 }, (_, i) => [-0.9 + 0.225 * i + 0.01]);
      const [read] = classify(method, kernelOf(line, tested), [[0, 0, 1, 1]], 0.01);
      expect(read).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 1]);
      const [rare] = classify(method, kernelOf([[-1], [-1], [-1], [1]], tested), [[0, 0, 0, 1]], 1000);
      expect(rare).toEqual(new Array(9).fill(0));
    },
  );
});

describe("linear probes", () => {
  const examples = randomTokens(60, 9, 96).map((row, e) => ({
    tokens: [...row, e % 2 === 0 ? 5 : 9],
    label: e % 2 === 0 ? "five" : "nine",
  }));

  it.each(["ridge", "logistic"] as const)(
    "read the last token at its position, and nothing of shuffled labels: %s",
    async (method) => {
      await linearProbe(model, { examples: examples.slice(0, 8), layers: [0], method });
      const before = tf.memory().numTensors;
      const found = await linearProbe(model, { examples, method, controls: 8 });
      expect(tf.memory().numTensors).toBe(before);
      expect(found).toMatchObject({ classes: ["five", "nine"], train: 42, test: 18, chance: 0.5 });
      expect(found.layers.map(({ layer }) => layer)).toEqual([0, 1, 2]);
      const [first] = found.layers;
      expect(first!.accuracy).toBeGreaterThan(0.8);
      expect(first!.interval).toEqual(wilson(Math.round(18 * first!.accuracy), 18));
      expect(first!.control).toBeGreaterThan(0.25);
      expect(first!.control).toBeLessThan(0.75);
      expect(first!.selectivity).toBeCloseTo(first!.accuracy - first!.control!, 10);
      // The embeddings themselves are two points.
      const [embedded] = (await linearProbe(model, { examples, method, at: "hook_resid_pre", layers: [0] })).layers;
      expect(embedded!.accuracy).toBe(1);
    },
  );

  it("do not read what stands elsewhere, and nothing before the layer that moves it", async () => {
    // The first token decides, and before layer 0 the last position knows nothing of it.
    const moved = randomTokens(60, 9, 96).map((row, e) => ({ tokens: [e % 2 === 0 ? 5 : 9, ...row], label: String(e % 2) })); // biome-ignore format: one line
    const [before] = (await linearProbe(model, { examples: moved, at: "hook_resid_pre", layers: [0], controls: 0 }))
      .layers;
    expect(before!.accuracy).toBeLessThan(0.85);
    expect(before).not.toHaveProperty("control");
    const [there] = (await linearProbe(model, { examples: moved, at: "hook_resid_pre", layers: [0], position: 0 }))
      .layers;
    expect(there!.accuracy).toBe(1);
  });

  it.each([
    ["one class", { examples: examples.map(({ tokens }) => ({ tokens, label: "same" })) }, "input"],
    ["a class of one example", { examples: [...examples, { tokens: [1], label: "one" }] }, "input"],
    ["no examples", { examples: [] }, "input"],
    ["a position that an example does not have", { position: 10 }, "usage"],
    ["a layer that there is not", { layers: [3] }, "usage"],
    ["all held out", { test: 1 }, "usage"],
    ["a method that there is not", { method: "forest" }, "usage"],
  ])("refuse %s", async (_, change, kind) => {
    await expect(linearProbe(model, { examples, ...(change as object) })).rejects.toMatchObject({ kind });
  });

  it("have Wilson's intervals: never beyond 0 and 1, around a half as the normal's", () => {
    expect(wilson(10, 10)[1]).toBeCloseTo(1, 10);
    expect(wilson(10, 10)[0]).toBeCloseTo(0.7225, 3);
    const [low, high] = wilson(500, 1000);
    expect([low, high]).toEqual([expect.closeTo(0.469, 3), expect.closeTo(0.531, 3)]);
  });

  it.each([
    ["no label", { tokens: [1] }],
    ["text and tokens", { tokens: [1], text: "a", label: "x" }],
    ["neither", { label: "x" }],
    ["ids outside the vocabulary", { tokens: [96], label: "x" }],
    ["a text without a tokenizer", { text: "a", label: "x" }],
  ])("take no example with %s", (_, value) => {
    expect(() => labelledPrompt(value, "case 1", model)).toThrow(/^case 1: /);
    expect(labelledPrompt({ tokens: [1, 2], label: true }, "case 1", model)).toEqual({ tokens: [1, 2], label: "true" });
  });
});
