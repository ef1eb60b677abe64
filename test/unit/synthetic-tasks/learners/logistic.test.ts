import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { LogisticPosterior } from "../../../../synthetic-tasks/learners/logistic.ts";
import { labelledBatch, logisticRegression } from "../../../../synthetic-tasks/logistic-regression.ts";

interface Case {
  dimension: number;
  examples: number;
  tau: number;
  x: number[];
  y: number[];
  probabilities: number[];
  mode: number[];
  bayes?: number[];
}
const cases = JSON.parse(
  readFileSync(new URL("../../../oracles/logistic.json", import.meta.url), "utf8"),
) as readonly Case[];

/** The posterior's probabilities of every label from the pairs before it, and its mode before the last. */
function probabilities({ dimension, examples, tau, x, y }: Case): { found: number[]; mode: Float64Array } {
  const posterior = new LogisticPosterior(dimension, tau);
  let mode = posterior.mode;
  const found = Array.from({ length: examples }, (_, i) => {
    const own = x.slice(i * dimension, (i + 1) * dimension);
    const p = posterior.probability(own);
    mode = posterior.mode;
    posterior.observe(own, y[i]!);
    return p;
  });
  return { found, mode };
}

describe.each(cases)("logistic regression of $examples pairs (d $dimension, τ $tau)", (one) => {
  it("equals NumPy's mode, and Laplace's probabilities, to 1e-6", () => {
    const { found, mode } = probabilities(one);
    one.probabilities.forEach((p, i) => {
      expect(Math.abs(found[i]! - p)).toBeLessThan(1e-6);
    });
    one.mode.forEach((w, j) => {
      expect(Math.abs(mode[j]! - w)).toBeLessThan(1e-6 * one.tau);
    });
  });

  it.runIf(one.bayes)("answers as the exact posterior does", () => {
    const clear = one.bayes!.map((p, i) => ({ p, i })).filter(({ p }) => Math.abs(p - 0.5) > 0.02);
    for (const { p, i } of clear) expect(one.probabilities[i]! > 0.5).toBe(p > 0.5);
  });
});

it("a label that contradicts a thousand others leaves the probability a number", () => {
  const posterior = new LogisticPosterior(1, 1e6);
  for (let i = 0; i < 50; i++) posterior.observe([1], 1);
  posterior.observe([1e4], 0);
  expect(posterior.probability([1])).toBeGreaterThan(0);
  expect(posterior.probability([1])).toBeLessThan(1);
});

describe("the logistic-regression task", () => {
  const params = { dimension: 3, examples: 12, tau: 10 };
  const batch = logisticRegression.sample(null, params, new Random(7), 4000);

  it("labels are 1 half of the time, and are decided by a plane, but for little noise", () => {
    const { classes, weights } = batch;
    const ones = classes!.reduce((sum, label, i) => sum + label * weights[i]!, 0) / (4000 * 12);
    expect(Math.abs(ones - 0.5)).toBeLessThan(0.02);
    // In one dimension the sign of x says the label in E[σ(|w x|)] of the cases: of w ~ N(0, 10²) in 0.96.
    const line = logisticRegression.sample(null, { dimension: 1, examples: 2, tau: 10 }, new Random(3), 4000);
    const same = Array.from({ length: 4000 }, (_, r) => {
      const [first, second] = [line.inputs![3 * r]!, line.inputs![3 * r + 2]!];
      return Number(first > 0 === second > 0) === Number(line.classes![3 * r] === line.classes![3 * r + 2]);
    });
    const share = same.filter(Boolean).length / 4000;
    let expected = 0; // both labels on their side, or neither
    const random = new Random(5);
    for (let i = 0; i < 20_000; i++) {
      const w = 10 * random.normal();
      const [a, b] = [random.normal(), random.normal()].map((x) => 1 / (1 + Math.exp(-Math.abs(w * x)))) as [number, number];
      expected += (a * b + (1 - a) * (1 - b)) / 20_000;
    }
    expect(Math.abs(share - expected)).toBeLessThan(4 * Math.sqrt((expected * (1 - expected)) / 4000));
  });

  it("the reference is right more often with every few pairs, and beats guessing", () => {
    const few = logisticRegression.evaluations["last"]!.sample(null, params, new Random(2), 400);
    const predicted = logisticRegression.reference!.predict(null, params, few);
    const accuracy = (i: number): number => {
      const places = Array.from({ length: 400 }, (_, r) => r * 23 + 2 * i);
      return places.filter((t) => Number(predicted[2 * t + 1]! > predicted[2 * t]!) === few.classes![t]).length / 400;
    };
    expect(accuracy(11)).toBeGreaterThan(0.85);
    expect(accuracy(11)).toBeGreaterThan(accuracy(2) + 0.05);
  });

  it("shows labels as -1 and 1 behind their points, and never the last one", () => {
    const { inputs, classes, weights } = labelledBatch({ rows: 1, examples: 2, x: Float32Array.of(3, 4, 5, 6), labels: [0, 1] }); // biome-ignore format: one line
    expect([...inputs!]).toEqual([3, 4, -1, 0, 5, 6]);
    expect([...classes!]).toEqual([0, 0, 1]);
    expect([...weights]).toEqual([1, 0, 1]);
  });
}); // biome-ignore format: long lines of one call
