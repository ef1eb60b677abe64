import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { tasks } from "../../../../synthetic-tasks/index.ts";
import { slidingWindow as task, windowPrompts } from "../../../../synthetic-tasks/windows/sliding-window.ts";
import {
  labelPower,
  predictWindows,
  shownPairs,
  windowOf,
} from "../../../../synthetic-tasks/windows/window-prompts.ts";

type Params = Parameters<typeof task.sample>[1];
const make = (raw: Record<string, unknown> = {}): Params => tasks.parse(task.name, raw) as Params;
const mean = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0) / values.length;

describe("functions of a sliding window", () => {
  const params = make({ dimension: 2, window: 3, examples: 12, sigma: 1e-6 });
  const rows = 400;
  const batch = windowPrompts(params, new Random(4, 1), rows, 0);
  const positions = 2 * params.examples - 1;

  it("are of the window alone: six labels fix the weights, and all later ones follow to the noise", () => {
    const predictions = predictWindows(params, batch);
    for (let row = 0; row < rows; row++)
      for (let i = 8; i < params.examples; i++)
        expect(predictions[row * params.examples + i]).toBeCloseTo(batch.values![row * positions + 2 * i]!, 2);
  });

  it("have labels of the variance that the law says, less where the window is not full", () => {
    const [full, first] = [positions - 1, 0].map((place) =>
      mean(Array.from({ length: rows }, (_, row) => batch.values![row * positions + place]! ** 2)),
    );
    expect(Math.abs(full! / labelPower(params) - 1)).toBeLessThan(0.3);
    expect(Math.abs(first! / (2 * 0.25) - 1)).toBeLessThan(0.4);
  });

  it("read a window from its own input back, 0 before the first", () => {
    const x = Float32Array.from([1, 2, 3, 4, 5, 6]);
    expect([...windowOf(x, 2, { dimension: 2, window: 2 })]).toEqual([5, 6, 3, 4]);
    expect([...windowOf(x, 0, { dimension: 2, window: 3 })]).toEqual([1, 2, 0, 0, 0, 0]);
  });

  it("show true labels but for the random share, whose targets stay true", () => {
    const noisy = windowPrompts(params, new Random(4, 1), rows, 0.3);
    expect(noisy.values).toEqual(batch.values);
    const flags = noisy.layout!;
    expect(Math.abs(mean(flags) - 0.3)).toBeLessThan(4 * Math.sqrt(0.21 / flags.length));
    const others: number[] = [];
    for (let row = 0; row < rows; row++) {
      const [before, after] = [shownPairs(params, batch, row), shownPairs(params, noisy, row)];
      expect(after.x).toEqual(before.x);
      after.y.forEach((y, i) => {
        if (flags[row * (params.examples - 1) + i] === 0) expect(y).toBe(before.y[i]);
        else others.push(y);
      });
    }
    expect(Math.abs(mean(others.map((y) => y ** 2)) / labelPower(params) - 1)).toBeLessThan(
      4 * Math.sqrt(2 / others.length),
    );
  });

  it("are refused where no window would be full", () => {
    expect(() => task.check(make({ window: 9, examples: 8 }))).toThrow(
      expect.objectContaining({ kind: "usage", field: ["window", "examples"] }),
    );
  });

  it("have a mean square that the chance of every split says", () => {
    for (const [name, evaluation] of Object.entries(task.evaluations)) {
      const { values, weights } = evaluation.sample(null, params, new Random(8, 3), 3000);
      const counted = Array.from(values!).filter((_, at) => weights[at] === 1);
      const square = mean(counted.map((value) => value ** 2));
      expect([name, Math.abs(square / evaluation.chance!(params).loss! - 1) < 0.1]).toEqual([name, true]);
    }
  });
});

describe("the best linear prediction", () => {
  it("is what covariances of labels and targets give", () => {
    const path = new URL("../../../oracles/window_predictions.json", import.meta.url);
    const { cases } = JSON.parse(readFileSync(path, "utf8"));
    for (const { x, y, share, tau, sigma, window, read, predictions } of cases) {
      const [dimension, examples] = [x[0].length, x.length];
      const inputs = new Float32Array((2 * examples - 1) * dimension);
      x.forEach((values: number[], i: number) => {
        inputs.set(values, 2 * i * dimension);
        if (i < examples - 1) inputs[(2 * i + 1) * dimension] = y[i];
      });
      const law = { dimension, window, examples, sigma, tau };
      const own = predictWindows(law, { rows: 1, inputs, weights: new Float32Array() }, { share, read });
      predictions.forEach((value: number, i: number) => {
        expect(own[i]!).toBeCloseTo(value, 5);
      });
    }
  });

  it("is better from the whole window than from one input, and loses by random labels", () => {
    const params = make();
    const error = (share: number, read?: number) => {
      const batch = windowPrompts(params, new Random(1, 2), 500, share);
      const own = predictWindows(params, batch, { share, ...(read === undefined ? {} : { read }) });
      const last = params.examples - 1;
      return mean(
        Array.from({ length: 500 }, (_, row) => {
          const target = batch.values![row * (2 * last + 1) + 2 * last]!;
          return (own[row * params.examples + last]! - target) ** 2;
        }),
      );
    };
    expect(error(0)).toBeLessThan(0.03);
    expect(error(0, 1)).toBeGreaterThan(0.3);
    expect(error(0.5)).toBeGreaterThan(error(0.25));
    expect(error(0.25)).toBeGreaterThan(error(0));
  });
});
