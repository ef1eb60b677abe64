import { describe, expect, it } from "vitest";
import {
  type MetricOptions,
  metricGradient,
  metricValues,
  pairMetric,
} from "../../../../backend/circuits/metrics/measure.ts";
import { METRIC_DEFINITIONS } from "../../../../backend/circuits/metrics/metrics.ts";
import { METRICS } from "../../../../backend/common/metrics.ts";
import { Random } from "../../../../backend/common/random.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";

await initBackend();

/** Numbers between -4 and 4 that float32 holds exactly, also a step beside them. */
const STEP = 2 ** -10;
function logitsOf(seed: number, count = 11): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: count }, () => random.integer(-4096, 4096) * STEP);
}

const SETS = [
  { answers: [3], wrong: [5] },
  { answers: [3, 7, 1], wrong: [5, 0] },
];

describe.each(METRICS)("%s", (name) => {
  const definition = METRIC_DEFINITIONS[name];
  it.each(SETS)("has the gradient that central differences in float64 find ($answers, $wrong)", (set) => {
    const target = { ...set, clean: logitsOf(2) };
    const logits = logitsOf(1);
    const gradient = definition.gradient(logits, target);
    logits.forEach((logit, id) => {
      const at = (steps: number): number =>
        definition.value(
          logits.map((u, i) => (i === id ? logit + steps * STEP : u)),
          target,
        );
      const difference = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * STEP);
      expect(Math.abs(gradient[id]! - difference)).toBeLessThan(1e-6);
    });
  });

  it("does not change when the same number is added to all logits", () => {
    const target = { ...SETS[1]!, clean: logitsOf(2) };
    const shifted = logitsOf(1).map((u) => u + 8);
    expect(definition.value(shifted, target)).toBeCloseTo(definition.value(logitsOf(1), target), 10);
  });
});

describe.each(METRICS.filter((name) => METRIC_DEFINITIONS[name].coefficients))("%s, linear in a few logits", (name) => {
  const definition = METRIC_DEFINITIONS[name];

  it.each(SETS)("is its coefficients times the logits ($answers, $wrong)", (set) => {
    const target = { ...set, clean: logitsOf(2) };
    const logits = logitsOf(1);
    const products = [...definition.coefficients!(target)].map(([id, coefficient]) => coefficient * logits[id]!);
    expect(products.reduce((sum, product) => sum + product)).toBeCloseTo(definition.value(logits, target), 10);
  });
});

describe("metrics over tensors", () => {
  const logits = tf.tensor3d([...logitsOf(1, 4), ...logitsOf(2, 4)], [2, 1, 4]);
  const wrongly = (metric: unknown, of = logits): unknown => {
    try {
      return metricValues(of, metric as MetricOptions);
    } catch (error) {
      return (error as { kind?: string }).kind;
    }
  };

  it("are of each row's own answers, or of the same answers in all rows", () => {
    const [a, b] = [logitsOf(1, 4), logitsOf(2, 4)];
    const own = metricValues(logits, pairMetric("logit-diff", [{ answer: 0, wrong: 1 }, { answer: 3, wrong: 2 }])); // biome-ignore format: one line
    expect(own).toEqual([a[0]! - a[1]!, b[3]! - b[2]!]);
    const shared = metricValues(logits, { name: "logit-diff", answers: [[0, 3]], wrong: [1] });
    expect(shared).toEqual([a, b].map((u) => (u[0]! + u[3]!) / 2 - u[1]!));
  });

  it("are 0 in KL divergence from a run to itself, with no gradient", () => {
    const { values, gradient } = metricGradient(logits, { name: "kl", clean: logits });
    expect(values.every((value) => Math.abs(value) < 1e-12)).toBe(true);
    expect(gradient.shape).toEqual([2, 1, 4]);
    expect(Math.max(...gradient.dataSync().map(Math.abs))).toBeLessThan(1e-7);
    gradient.dispose();
  });

  it("are probabilities that add up to 1 over all tokens, and a loss that is the negative log-probability", () => {
    const [whole] = metricValues(logits, { name: "probability", answers: [[0, 1, 2, 3]] });
    expect(whole).toBeCloseTo(1, 12);
    const [loss] = metricValues(logits, { name: "loss", answers: [2] });
    const [p] = metricValues(logits, { name: "probability", answers: [2] });
    expect(loss).toBeCloseTo(-Math.log(p!), 12);
  });

  it("refuse what they can't be measured against", () => {
    expect(wrongly({ name: "accuracy", answers: [1] })).toBe("usage");
    expect(wrongly({ name: "probability" })).toBe("usage");
    expect(wrongly({ name: "logit-diff", answers: [1] })).toBe("usage");
    expect(wrongly({ name: "kl" })).toBe("usage");
    expect(wrongly({ name: "loss", answers: [4] })).toBe("usage");
    expect(wrongly({ name: "loss", answers: [[]] })).toBe("usage");
    expect(wrongly({ name: "loss", answers: [[1, 1]] })).toBe("usage");
    expect(wrongly({ name: "loss", answers: [1, 2, 3] })).toBe("usage");
    expect(wrongly({ name: "loss", answers: [1] }, tf.zeros([1, 2, 4]))).toBe("usage");
    expect(wrongly({ name: "kl", clean: tf.zeros([2, 3]) })).toBe("usage");
  });
});
