import { describe, expect, it } from "vitest";
import { predictorLevel, referenceLevels } from "../../../backend/training/evaluations.ts";
import { makeSpec } from "../../../backend/training/spec.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";

const levels = (name: string, params: object, seed = 0) => {
  const task = tasks.get(name);
  return referenceLevels(task, makeSpec(task, { ...params }), seed);
};

describe("a predictor's level", () => {
  it("of classes is the mean of -log p and of what is right, by the weights, past positions that do not count", () => {
    const batch = { rows: 1, weights: Float32Array.of(1, 3, 0), classes: Int32Array.of(0, 1, 0) };
    const predictions = Float64Array.of(Math.log(0.5), Math.log(0.5), Math.log(0.9), Math.log(0.1), Number.NaN, 0);
    const { loss, accuracy } = predictorLevel({ output: { kind: "classes", count: 2 } }, batch, predictions);
    expect(loss).toBeCloseTo((Math.LN2 - 3 * Math.log(0.1)) / 4, 12);
    expect(accuracy).toBe(1 / 4);
  });

  it("of values is the squared error, mean over the width", () => {
    const batch = { rows: 1, weights: Float32Array.of(1, 1), values: Float32Array.of(1, 0, 2, 2) };
    expect(predictorLevel({ output: { kind: "values", width: 2 } }, batch, Float64Array.of(0, 0, 2, 0))).toEqual({
      loss: (1 / 2 + 4 / 2) / 2,
    });
  });

  it("of normal laws is their negative log-likelihood", () => {
    const batch = { rows: 1, weights: Float32Array.of(2), values: Float32Array.of(3) };
    const { loss } = predictorLevel({ output: { kind: "gaussian", width: 1 } }, batch, Float64Array.of(1, Math.log(4)));
    expect(loss).toBeCloseTo(0.5 * Math.log(2 * Math.PI * 4) + 2 ** 2 / (2 * 4), 12);
  });

  it("has no loss where something came that was ruled out", () => {
    const batch = { rows: 1, weights: Float32Array.of(1, 1), classes: Int32Array.of(0, 1) };
    const sure = Float64Array.of(0, Number.NEGATIVE_INFINITY, 0, Number.NEGATIVE_INFINITY);
    expect(predictorLevel({ output: { kind: "classes", count: 2 } }, batch, sure)).toEqual({ accuracy: 0.5 });
  });
});

describe("the reference on a run's evaluations", () => {
  it("can be told for every task that has one", () => {
    for (const task of tasks.list().filter(({ reference }) => reference !== undefined)) {
      const found = levels(task.name, { evaluation_rows: 4 });
      expect(Object.keys(found), task.name).toEqual(Object.keys(task.evaluations));
      for (const { loss, accuracy } of Object.values(found))
        expect([loss, accuracy], task.name).not.toContain(Number.NaN);
    }
  });

  it("is exact at the last of more noiseless points than dimensions, and at their error below", () => {
    // The last x has 9 pairs before it: of 4 dimensions nothing is left to guess.
    const enough = levels("linear-regression", { dimension: 4, examples: 10, sigma: 0 });
    expect(enough["last"]!.loss!).toBeLessThan(1e-6);
    expect(enough["in-context"]!.loss!).toBeGreaterThan(enough["last"]!.loss!);
    // Without an earlier pair the best guess is 0, whose squared error is the variance of y.
    const [first, d] = [
      levels("linear-regression", { dimension: 4, examples: 1, sigma: 0, evaluation_rows: 20_000 }),
      4,
    ];
    expect(Math.abs(first["in-context"]!.loss! / d - 1)).toBeLessThan(0.1);
  });

  it("is below the chance of uniform guessing where the concept can be told, and follows from the seed", () => {
    const params = { evaluation_rows: 16 };
    const [first, again, other] = [0, 0, 1].map((seed) => levels("hmm-mixture", params, seed));
    const { vocabulary } = makeSpec(tasks.get("hmm-mixture"), {}).params as { vocabulary: number };
    expect(first!["late"]!.loss!).toBeLessThan(Math.log(vocabulary));
    expect(first).toEqual(again);
    expect(first).not.toEqual(other);
  });

  it("is nothing where a task has none", () => {
    expect(levels("gaussian-classification", { evaluation_rows: 4 })).toEqual({});
  });
});
