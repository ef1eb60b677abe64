import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { evenLabelShare, kernelAlignment, labelShare, nearest } from "../../../../experiments/icl-circuit/alignment.ts";
import { headShares } from "../../../../experiments/icl-circuit/clean-run.ts";
import { layerSpans } from "../../../../experiments/icl-circuit/measure.ts";

interface AlignmentCase {
  x: number[][];
  y: number[][];
  labels: number[];
  count: number;
  alignment: number;
  labelShare: number;
}

describe("kernel alignment", () => {
  const cases = JSON.parse(
    readFileSync(new URL("../../../oracles/kernel_alignment.json", import.meta.url), "utf8"),
  ) as AlignmentCase[];

  it.each(cases)("is NumPy's share of common neighbours", ({ x, y, labels, count, ...wanted }) => {
    const [own, other] = [nearest(x, count), nearest(y, count)];
    expect(kernelAlignment(own, other)).toBeCloseTo(wanted.alignment, 12);
    expect(labelShare(own, labels)).toBeCloseTo(wanted.labelShare, 12);
  });

  it("is 1 with itself, and neighbours / (items - 1) on average with unrelated ones", () => {
    const { x, count } = cases[0]!;
    expect(kernelAlignment(nearest(x, count), nearest(x, count))).toBe(1);
    // Every way to name the two nearest of four items, once for each other way.
    const two = [[0, 1], [0, 2], [1, 2]]; // biome-ignore format: one line
    const shares = two.flatMap((a) => two.map((b) => kernelAlignment([a], [b])));
    expect(shares.reduce((sum, share) => sum + share, 0) / 9).toBeCloseTo(2 / 3, 12);
  });

  it("the share of a label by chance is that among the other items", () => {
    expect(evenLabelShare([0, 0, 1, 1])).toBeCloseTo(1 / 3, 12);
    expect(evenLabelShare([0, 0, 0])).toBe(1);
  });
});

it("heads count by the paper's thresholds on attention to forerunners, right labels and wrong ones", () => {
  // Two demonstrations "a : L \n", then "b :": forerunners 1, 5, 9; labels 2, 6; 10 tokens, 2 labels.
  const prompt = {
    tokens: Array.from({ length: 10 }, (_, i) => i),
    texts: [[0, 1], [4, 5], [8, 9]],
    forerunners: [1, 5, 9],
    labels: [2, 6],
  } as const; // biome-ignore format: a part a line
  const pattern = new Float32Array(3 * 10 * 10);
  const set = (head: number, query: number, key: number, value: number) => {
    pattern[(head * 10 + query) * 10 + key] = value;
  };
  set(0, 2, 1, 0.3); // mean 0.25 > 2 / 10
  set(0, 6, 5, 0.2);
  set(1, 9, 6, 0.3); // right - wrong 0.11 > 2 / 10 / 2
  set(1, 9, 2, 0.19);
  set(2, 9, 2, 0.5); // the wrong one
  const batch = { prompts: [prompt], tokens: [prompt.tokens], shown: [[0, 1]], asked: [1], labels: 2 };
  expect(headShares(pattern, 3, batch, 2)).toEqual({ forerunner: [1, 0, 0], copying: [0, 1, 0], wrong: [0, 0, 1] });
  expect(headShares(pattern, 3, batch, 3)).toEqual({ forerunner: [0, 0, 0], copying: [0, 0, 0], wrong: [0, 0, 1] });
});

it("spans are all layers, then equal parts of them", () => {
  expect(layerSpans(30, 4)).toEqual([[0, 30], [0, 8], [8, 15], [15, 23], [23, 30]]); // biome-ignore format: one line
  expect(layerSpans(30, 1)).toEqual([[0, 30]]);
});
