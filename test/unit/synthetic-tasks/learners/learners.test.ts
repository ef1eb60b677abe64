import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { impliedWeights, LeastSquares, learners, predictPrompts } from "../../../../synthetic-tasks/learners/index.ts";

interface Case {
  dimension: number;
  examples: number;
  sigma: number;
  tau: number;
  x: number[];
  y: number[];
  predictions: Record<string, number[]>;
}
const oracle = JSON.parse(readFileSync(new URL("../../../oracles/learners.json", import.meta.url), "utf8")) as {
  k: number;
  lambda: number;
  cases: Case[];
  rates: { dimension: number; pairs: number; sigma: number; tau: number; step: number; second: number }[];
};
const given: Record<string, object> = { ridge: { lambda: oracle.lambda }, "k-nearest": { k: oracle.k } };
const start = (name: string, setting: { dimension: number; sigma: number; tau: number }) => () =>
  learners.get(name).start(setting, learners.parse(name, given[name] as Record<string, unknown>));

describe("every learner", () => {
  const all = oracle.cases.flatMap((one) => learners.names().map((name) => ({ name, one, ...one })));
  it.each(all)("$name equals NumPy's to 1e-6 (d $dimension, n $examples, σ $sigma, τ $tau)", ({ name, one }) => {
    const prompts = { rows: 1, examples: one.examples, x: Float64Array.from(one.x), y: Float64Array.from(one.y) };
    const predicted = predictPrompts(start(name, one), prompts);
    one.predictions[name]!.forEach((expected, i) => {
      expect(Math.abs(predicted[i]! - expected)).toBeLessThan(1e-6);
    });
  });

  it("takes the rows of a batch one by one", () => {
    const [one] = oracle.cases as [Case];
    const twice = { rows: 2, examples: one.examples, x: Float64Array.from([...one.x, ...one.x]), y: Float64Array.from([...one.y, ...one.y]) }; // biome-ignore format: one line
    for (const name of learners.names()) {
      const predicted = [...predictPrompts(start(name, one), twice)];
      expect(predicted.slice(one.examples)).toEqual(predicted.slice(0, one.examples));
    }
  });

  it.each(learners.names().filter((name) => name !== "k-nearest"))("%s predicts by its weights", (name) => {
    const [one] = oracle.cases as [Case];
    const learner = start(name, one)();
    learner.observe([1, -2, 0.5], 3);
    learner.observe([0, 1, 1], -1);
    const x = [0.3, 0.7, -1.1];
    expect(learner.predict(x)).toBeCloseTo(
      x.reduce((sum, value, i) => sum + value * learner.weights![i]!, 0),
      12,
    );
  });
});

it.each(oracle.rates)(
  "step sizes are those of the least error over problems (d $dimension, n $pairs, σ $sigma)",
  (one) => {
    // The step's weights on pairs whose moment is (n, 0, …) are its rate times that; the search's own error is below 2 %.
    const first = Array.from({ length: one.dimension }, (_, i) => (i === 0 ? 1 : 0));
    const step = start("gradient-step", one)();
    for (let i = 0; i < one.pairs; i++) step.observe(first, 1);
    expect(Math.abs(step.weights![0]! / one.pairs / one.step - 1)).toBeLessThan(0.02);
    const sgd = start("sgd", one)();
    sgd.observe(first, 0);
    sgd.observe(first, 1);
    expect(Math.abs(sgd.weights![0]! / one.second - 1)).toBeLessThan(0.02);
  },
);

it("a step size that is given is used", () => {
  const setting = { dimension: 2, sigma: 0, tau: 1 };
  for (const name of ["gradient-step", "sgd"]) {
    const learner = learners.get(name).start(setting, learners.parse(name, { rate: 0.25 }));
    learner.observe([2, 0], 1);
    expect([...learner.weights!]).toEqual([0.5, 0]);
  }
});

describe("least squares", () => {
  it("fits where pairs repeat, and averages what they contradict", () => {
    const fit = new LeastSquares(2);
    fit.observe([3, 4], 10);
    fit.observe([3, 4], 20);
    expect([...fit.weights]).toEqual([expect.closeTo(1.8, 12), expect.closeTo(2.4, 12)]);
  });

  it("leaves the noise with many pairs", () => {
    const random = new Random(4);
    const fit = new LeastSquares(3);
    for (let i = 0; i < 20_000; i++) {
      const x = [random.normal(), random.normal(), random.normal()];
      fit.observe(x, x[0]! - 2 * x[2]! + random.normal());
    }
    [1, 0, -2].forEach((w, i) => {
      expect(Math.abs(fit.weights[i]! - w)).toBeLessThan(4 / Math.sqrt(20_000));
    });
  });
});

describe("implied weights", () => {
  const random = new Random(9);
  const queries = Float64Array.from({ length: 60 }, () => random.normal()); // [20, 3]
  const w = [0.5, -1, 2];
  const linear = Array.from({ length: 20 }, (_, q) =>
    w.reduce((sum, value, i) => sum + value * queries[3 * q + i]!, 0),
  );

  it("are those of a linear predictor, which is linear entirely", () => {
    const { weights, linearity } = impliedWeights(queries, linear);
    expect([...weights]).toEqual(w.map((value) => expect.closeTo(value, 10)));
    expect(linearity).toBeCloseTo(1, 10);
    expect(
      impliedWeights(
        queries,
        linear.map(() => 0),
      ).linearity,
    ).toBe(1);
  });

  it("of a square have no part in it", () => {
    const squares = Array.from({ length: 3000 }, () => random.normal());
    const even = [...squares, ...squares.map((x) => -x)];
    const { weights, linearity } = impliedWeights(Float64Array.from(even), even.map((x) => x * x)); // biome-ignore format: one line
    expect(weights[0]!).toBeCloseTo(0, 8);
    expect(linearity).toBeCloseTo(0, 8);
  });
});

it("parameters out of range are refused", () => {
  expect(() => learners.parse("ridge", { lambda: 0 })).toThrow(
    expect.objectContaining({ kind: "usage", field: "lambda" }),
  );
  expect(() => learners.parse("k-nearest", { k: 0 })).toThrow(expect.objectContaining({ kind: "usage", field: "k" }));
  expect(() => learners.get("lasso")).toThrow(expect.objectContaining({ kind: "usage", subject: "lasso" }));
});
