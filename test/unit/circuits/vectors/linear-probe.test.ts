import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { labelledPrompt } from "../../../../backend/circuits/vectors/cases.ts";
import { classify, type Examples, outputsOf, ridge } from "../../../../backend/circuits/vectors/linear-fits.ts";
import { linearProbe } from "../../../../backend/circuits/vectors/linear-probe.ts";
import { logistic } from "../../../../backend/circuits/vectors/logistic.ts";
import { wilson } from "../../../../backend/circuits/vectors/probe-layer.ts";
import { matrixOf } from "../../../../backend/common/numerics/matrix.ts";
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

/** Points centred by the mean of those that are fitted. */
function examplesOf(train: number[][], test: number[][]): Examples {
  const mean = train[0]!.map((_, d) => train.reduce((sum, x) => sum + x[d]!, 0) / train.length);
  const centred = (points: number[][]) => matrixOf(points.map((x) => x.map((v, d) => v - mean[d]!)));
  return { train: centred(train), test: centred(test) };
}

interface Case {
  l2: number;
  train: number[][];
  test: number[][];
  targets: number[][];
  labels: number[];
  ridge: number[][];
  probabilities: number[][];
}
const oracle = JSON.parse(readFileSync(new URL("../../../oracles/linear_probes.json", import.meta.url), "utf8")) as {
  cases: Case[];
};

describe("fits", () => {
  it.each(oracle.cases)(
    "of ridge regression equal NumPy's to 1e-6 ($l2)",
    ({ l2, train, test, targets, ridge: all }) => {
      const [fit, again] = ridge(matrixOf(train), [matrixOf(targets), matrixOf(targets)], l2);
      const { data } = outputsOf(fit!, matrixOf(test));
      all.flat().forEach((value, i) => {
        expect(Math.abs(data[i]! - value)).toBeLessThan(1e-6);
      });
      expect([...outputsOf(again!, matrixOf(test)).data]).toEqual([...data]);
    },
  );

  it.each(oracle.cases)("of logistic regression equal scikit-learn's to 1e-4 ($l2)", (one) => {
    const classes = one.probabilities[0]!.length;
    const { data } = outputsOf(logistic(matrixOf(one.train), one.labels, classes, one.l2), matrixOf(one.test));
    one.probabilities.forEach((expected, t) => {
      const powers = [...data.subarray(t * classes, (t + 1) * classes)].map(Math.exp);
      const sum = powers.reduce((a, b) => a + b);
      expected.forEach((share, c) => {
        expect(Math.abs(powers[c]! / sum - share)).toBeLessThan(1e-4);
      });
    });
  });
});

describe("linear classifiers", () => {
  const random = new Random(3);
  // Three clouds in the plane, and points that lie at their centres.
  const centres = [[4, 0], [-2, 3], [-2, -3]]; // biome-ignore format: one line
  const labels = Array.from({ length: 60 }, (_, i) => i % 3);
  const points = labels.map((label) => centres[label]!.map((x) => x + 0.5 * random.normal()));

  it.each(["ridge", "logistic"] as const)(
    "%s tells three clouds apart, and as well with several labellings",
    (method) => {
      const examples = examplesOf(points, centres);
      const turned = labels.map((label) => (label + 1) % 3);
      expect(classify(method, examples, [labels, turned], 1)).toEqual([[0, 1, 2], [1, 2, 0]]); // biome-ignore format: one line
    },
  );

  it.each(["ridge", "logistic"] as const)(
    "%s puts the border of two points where it must be, however rare a class is",
    (method) => {
      // On a line at -1 and 1 the border is 0 with as many of both; a thousandfold penalty leaves the frequent class.
      const line = [[-1], [-1], [1], [1]];
      const tested = Array.from({ length: 9 }, (_, i) => [-0.9 + 0.225 * i + 0.01]);
      const [read] = classify(method, examplesOf(line, tested), [[0, 0, 1, 1]], 0.01);
      expect(read).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 1]);
      const [rare] = classify(method, examplesOf([[-1], [-1], [-1], [1]], tested), [[0, 0, 0, 1]], 1000);
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
      expect(found).toMatchObject({ classes: ["five", "nine"], metric: "accuracy", train: 42, test: 18, chance: 0.5 });
      expect(found.layers.map(({ layer }) => layer)).toEqual([0, 1, 2]);
      const [first] = found.layers;
      expect(first!.score).toBeGreaterThan(0.8);
      expect(first!.interval).toEqual(wilson(Math.round(18 * first!.score), 18));
      expect(first!.control).toBeGreaterThan(0.25);
      expect(first!.control).toBeLessThan(0.75);
      expect(first!.selectivity).toBeCloseTo(first!.score - first!.control!, 10);
      // The embeddings themselves are two points.
      const [embedded] = (await linearProbe(model, { examples, method, at: "hook_resid_pre", layers: [0] })).layers;
      expect(embedded!.score).toBe(1);
    },
  );

  it("do not read what stands elsewhere, and nothing before the layer that moves it", async () => {
    // The first token decides, and before layer 0 the last position knows nothing of it.
    const moved = randomTokens(60, 9, 96).map((row, e) => ({ tokens: [e % 2 === 0 ? 5 : 9, ...row], label: String(e % 2) })); // biome-ignore format: one line
    const [before] = (await linearProbe(model, { examples: moved, at: "hook_resid_pre", layers: [0], controls: 0 }))
      .layers;
    expect(before!.score).toBeLessThan(0.85);
    expect(before).not.toHaveProperty("control");
    const [there] = (await linearProbe(model, { examples: moved, at: "hook_resid_pre", layers: [0], position: 0 }))
      .layers;
    expect(there!.score).toBe(1);
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
