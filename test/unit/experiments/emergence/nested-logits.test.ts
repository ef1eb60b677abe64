import { describe, expect, it, test } from "vitest";
import { fitLogits, type LogitModel, nestedLogits, oneLogit } from "../../../../experiments/emergence/nested-logits.ts";

const SIZES = { N: 4, B: 1, L: 8 };
const STEPS = Array.from({ length: 60 }, (_, i) => 2000 ** (i / 59));

/** The derivative of a model's loss by differences. */
function differences(model: LogitModel, logits: readonly number[]): number[] {
  const h = 1e-5;
  return logits.map((_, i) => {
    const at = (by: number) => model(logits.map((logit, j) => (i === j ? logit + by : logit))).loss;
    return (at(h) - at(-h)) / (2 * h);
  });
}

/** Euler's steps of gradient descent, beside the flow that fits take. */
function descended(model: LogitModel, begin: readonly number[], rate: number): { steps: number[]; values: number[] } {
  const [steps, values] = [[] as number[], [] as number[]];
  let logits = begin;
  for (let step = 1; step <= 2000; step++) {
    const { gradient } = model(logits);
    logits = logits.map((logit, i) => logit - rate * gradient[i]!);
    if (step % 40 > 0 && step > 100) continue;
    steps.push(step);
    values.push(model(logits).loss);
  }
  return { steps, values };
}

describe("the models", () => {
  test.each([
    ["nested", nestedLogits(SIZES), [0.3, 1.2, 2.5]],
    ["nested, bursty", nestedLogits({ N: 8, B: 2, L: 32 }), [2, 4, 7]],
    ["nested, all labels in the context", nestedLogits({ N: 8, B: 1, L: 4 }), [1, 0, 3]],
    ["one", oneLogit(SIZES), [0.7]],
  ])("%s: the gradient is that of the loss", (_, model, logits) => {
    const wanted = differences(model, logits);
    for (const [i, value] of model(logits).gradient.entries()) expect(value).toBeCloseTo(wanted[i]!, 8);
  });

  test("know nothing at first, and the labels of the context by the last logit alone", () => {
    const model = nestedLogits(SIZES);
    expect(model([0, 0, 0]).loss).toBeCloseTo(Math.log(8), 12);
    expect(oneLogit(SIZES)([0]).loss).toBeCloseTo(Math.log(8), 12);
    expect(model([0, 0, 200]).loss).toBeCloseTo(Math.log(4), 6);
    expect(model([20, 40, 40]).loss).toBeLessThan(1e-9);
  });
});

describe("a fit", () => {
  it("finds what gradient descent was begun with, and explains it", () => {
    const fit = fitLogits(nestedLogits(SIZES), 3, descended(nestedLogits(SIZES), [0.5, 0.5, 0.5], 0.1));
    expect(fit.start).toBeCloseTo(0.5, 1);
    expect(Math.abs(Math.log10(fit.rate / 0.1))).toBeLessThan(0.05);
    expect(fit.explained).toBeGreaterThan(0.99);
  });

  it("of one logit leaves most of a plateau and a drop unexplained, and the other way round", () => {
    const plateau = descended(nestedLogits(SIZES), [0, 0, 0], 0.1);
    const [nested, single] = [fitLogits(nestedLogits(SIZES), 3, plateau), fitLogits(oneLogit(SIZES), 1, plateau)];
    expect(nested.error).toBeLessThan(0.05 * single.error);
    const smooth = descended(oneLogit(SIZES), [0], 0.01);
    expect(fitLogits(oneLogit(SIZES), 1, smooth).explained).toBeGreaterThan(0.99);
  });

  it("of a curve that stays where it is explains nothing, and is finite", () => {
    const flat = { steps: STEPS, values: STEPS.map((_, i) => Math.log(8) + 0.01 * (-1) ** i) };
    const fit = fitLogits(nestedLogits(SIZES), 3, flat);
    expect(fit.explained).toBeLessThan(0.1);
    expect(fit.curve.values.every(Number.isFinite)).toBe(true);
  });
});
