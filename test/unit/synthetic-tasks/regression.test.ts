import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import type { Batch } from "../../../backend/training/task.ts";
import { RidgePosterior, tasks } from "../../../synthetic-tasks/index.ts";
import { linearRegression as task } from "../../../synthetic-tasks/linear-regression.ts";

type Params = Parameters<typeof task.sample>[1];
const make = (raw: Record<string, unknown> = {}): Params => tasks.parse(task.name, raw) as Params;

interface Case {
  dimension: number;
  examples: number;
  sigma: number;
  tau: number;
  x: number[][];
  y: number[];
  predictions: number[];
}
const oracle = JSON.parse(readFileSync(new URL("../../oracles/ridge.json", import.meta.url), "utf8")) as {
  cases: Case[];
};

/** Pairs as the task lays them out. */
function batchOf({ dimension: d, examples, x, y }: Case): Batch {
  const positions = 2 * examples - 1;
  const inputs = new Float32Array(positions * d);
  const values = new Float32Array(positions);
  const weights = new Float32Array(positions);
  for (let i = 0; i < examples; i++) {
    inputs.set(x[i]!, 2 * i * d);
    if (i < examples - 1) inputs[(2 * i + 1) * d] = y[i]!;
    values[2 * i] = y[i]!;
    weights[2 * i] = 1;
  }
  return { rows: 1, inputs, values, weights };
}

describe("the reference", () => {
  it.each(oracle.cases)(
    "equals NumPy's posterior mean to 1e-6 (d $dimension, n $examples, σ $sigma, τ $tau)",
    (one) => {
      const predicted = task.reference!.predict(null, { ...make(), ...one }, batchOf(one));
      expect(predicted.length).toBe(2 * one.examples - 1);
      one.predictions.forEach((expected, i) => {
        expect(Math.abs(predicted[2 * i]! - expected)).toBeLessThan(1e-6);
      });
      expect(predicted.filter((value, t) => t % 2 === 1 && value !== 0)).toHaveLength(0);
    },
  );

  it("has the error that Bayes gives: all of the variance without pairs, (1 - n / d) of it with n < d pairs, none after", () => {
    const params = make({ dimension: 6, examples: 9, sigma: 0, tau: 1.5 });
    const rows = 4000;
    const batch = task.sample(null, params, new Random(8), rows);
    const predicted = task.reference!.predict(null, params, batch);
    for (let n = 0; n < 9; n++) {
      const errors = Array.from(
        { length: rows },
        (_, r) => (batch.values![r * 17 + 2 * n]! - predicted[r * 17 + 2 * n]!) ** 2,
      );
      const mean = errors.reduce((a, b) => a + b) / rows;
      const error = Math.sqrt(errors.reduce((sum, e) => sum + (e - mean) ** 2, 0)) / rows;
      const expected = Math.max(1 - n / 6, 0) * 6 * 1.5 ** 2;
      // y and x are in single precision, which counts as noise of 1e-7; a nearly singular X enlarges it.
      expect(Math.abs(mean - expected)).toBeLessThan(4 * error + 1e-3);
    }
  });

  it("says the shortest w that fits where pairs are fewer than dimensions, and stays there when told the same again", () => {
    const posterior = new RidgePosterior(2, { sigma: 0, tau: 3 });
    for (let i = 0; i < 5; i++) posterior.observe([3, 4], 10);
    expect(posterior.mean[0]).toBeCloseTo(1.2, 12);
    expect(posterior.mean[1]).toBeCloseTo(1.6, 12);
  });
});

describe("a row", () => {
  const params = make({ dimension: 3, examples: 5, sigma: 0.5, tau: 2 });
  const rows = 20_000;
  const positions = 9;
  const { inputs, values, weights } = task.sample(null, params, new Random(3), rows);

  it("is x, y, x, … with y as (y, 0, 0); the y of every x is asked for, and the last is never shown", () => {
    for (let r = 0; r < 200; r++)
      for (let t = 0; t < positions; t++) {
        const at = r * positions + t;
        expect(weights[at]).toBe(t % 2 === 0 ? 1 : 0);
        if (t % 2 === 1) expect([...inputs!.subarray(3 * at, 3 * at + 3)]).toEqual([values![at - 1], 0, 0]);
      }
  });

  it("has x of variance 1 and y of variance d tau² + sigma²", () => {
    const first = Array.from({ length: rows }, (_, r) => [
      ...inputs!.subarray(3 * positions * r, 3 * positions * r + 3),
    ]);
    const x = first.flat();
    expect(Math.abs(x.reduce((a, b) => a + b) / x.length)).toBeLessThan(4 / Math.sqrt(x.length));
    expect(Math.abs(x.reduce((a, b) => a + b * b, 0) / x.length - 1)).toBeLessThan(4 * Math.sqrt(2 / x.length));
    const squares = Array.from({ length: rows }, (_, r) => values![r * positions]! ** 2);
    const mean = squares.reduce((a, b) => a + b) / rows;
    const error = Math.sqrt(squares.reduce((sum, s) => sum + (s - mean) ** 2, 0)) / rows;
    expect(Math.abs(mean - (3 * 4 + 0.25))).toBeLessThan(4 * error);
    expect(task.evaluations["in-context"]!.chance!(params).loss).toBe(12.25);
  });

  it("has one w of its own, with noise sigma around it", () => {
    // Least squares over many pairs of one row leaves the noise: its variance times (n - d).
    const long = make({ dimension: 3, examples: 1000, sigma: 0.5, tau: 2 });
    const [one, other] = [0, 1].map((stream) => {
      const batch = task.sample(null, long, new Random(6, stream), 1);
      const posterior = new RidgePosterior(3, long);
      const at = (i: number) => batch.inputs!.subarray(6 * i, 6 * i + 3);
      for (let i = 0; i < 1000; i++) posterior.observe(at(i), batch.values![2 * i]!);
      let squares = 0;
      for (let i = 0; i < 1000; i++) squares += (batch.values![2 * i]! - posterior.predict(at(i))) ** 2;
      return { w: [...posterior.mean], variance: squares / 997 };
    });
    expect(Math.abs(one!.variance - 0.25)).toBeLessThan(4 * 0.25 * Math.sqrt(2 / 997));
    expect(Math.hypot(...one!.w.map((value, i) => value - other!.w[i]!))).toBeGreaterThan(0.5);
  });
});

it("measures the last x alone, and inputs twice as long", () => {
  const params = make({ dimension: 2, examples: 4 });
  const last = task.evaluations["last"]!.sample(null, params, new Random(1), 3);
  expect([...last.weights]).toEqual([0, 1, 2].flatMap(() => [0, 0, 0, 0, 0, 0, 1]));
  const usual = task.evaluations["in-context"]!.sample(null, params, new Random(1), 3);
  const scaled = task.evaluations["scaled"]!.sample(null, params, new Random(1), 3);
  for (let t = 0; t < 7; t += 2) expect(scaled.inputs![2 * t]).toBe(2 * usual.inputs![2 * t]!);
  expect(task.evaluations["scaled"]!.chance!(params).loss).toBeCloseTo(2 * 4 + 0.25 ** 2, 12);
});

describe("the curriculum", () => {
  const params = make({ dimension: 6, examples: 9, dimension_start: 2, examples_start: 3, grow_every: 10 });
  const level = (step: number) => {
    const { dimension_start, examples_start } = task.curriculum!(params, step);
    return [dimension_start, examples_start];
  };

  it("grows by one dimension and two pairs at a time, and ends with all of them", () => {
    expect([1, 10, 11, 21, 31, 41, 1000].map(level)).toEqual([
      ...[[2, 3], [2, 3], [3, 5], [4, 7], [5, 9], [6, 9], [6, 9]],
    ]); // biome-ignore format: a table
  });

  it("draws x of as many numbers, y from these alone, and counts as many pairs", () => {
    const rows = 50;
    const { inputs, values, weights } = task.sample(null, task.curriculum!(params, 11), new Random(3), rows);
    const whole = task.sample(null, { ...params, dimension_start: 0, examples_start: 0 }, new Random(3), rows);
    for (let r = 0; r < rows; r++)
      for (let t = 0; t < 17; t += 2) {
        const at = r * 17 + t;
        const x = inputs!.subarray(at * 6, at * 6 + 6);
        expect([...x.subarray(0, 3)]).toEqual([...whole.inputs!.subarray(at * 6, at * 6 + 3)]);
        expect([...x.subarray(3)]).toEqual([0, 0, 0]);
        expect(weights[at]).toBe(t / 2 < 5 ? 1 : 0);
      }
    expect(values).not.toEqual(whole.values);
  });

  it("is not there where it starts with everything, and evaluations know nothing of it", () => {
    const none = make({ dimension: 6, examples: 9 });
    expect(task.sample(null, task.curriculum!(none, 1), new Random(3), 5)).toEqual(
      task.sample(null, none, new Random(3), 5),
    );
    const evaluated = (p: Params) => task.evaluations["in-context"]!.sample(null, p, new Random(3), 5);
    expect(evaluated(params)).toEqual(evaluated(none));
  });

  it.each(["dimension", "examples"])("that begins with more than it ends with is refused: %s", (name) => {
    expect(() => task.check(make({ dimension: 6, examples: 9, [`${name}_start`]: 10 }))).toThrow(
      expect.objectContaining({ kind: "usage", field: [`${name}_start`, name] }),
    );
  });
});
