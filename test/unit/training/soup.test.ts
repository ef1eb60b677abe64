import { describe, expect, it } from "vitest";
import { greedySoup, meanParameters } from "../../../backend/training/origins/soup.ts";

/** Minus the squared distance from a target. */
const near =
  (...target: number[]) =>
  (values: Float32Array) =>
    -values.reduce((sum, x, i) => sum + (x - target[i]!) ** 2, 0);

describe("a mean of weights", () => {
  it("is the mean of each weight, in single precision rounded once", () => {
    const members = [Float32Array.of(1, 2, 1e8), Float32Array.of(2, -4, 1), Float32Array.of(6, 2, -1e8)];
    expect([...meanParameters(members)]).toEqual([3, 0, Math.fround(1 / 3)]);
    expect(meanParameters([members[0]!])).toEqual(members[0]);
  });
});

describe("a greedy soup", () => {
  it("begins with the best and takes each further run with which the mean is no worse", () => {
    // Around (0, 0): (1, 0) is best; (-1.5, 0) brings the mean to (-0.25, 0); (0, 4) would take it away again.
    const members = [Float32Array.of(0, 4), Float32Array.of(1, 0), Float32Array.of(-1.5, 0)];
    const { chosen, scores } = greedySoup(members, near(0, 0));
    expect(chosen).toEqual([1, 2]);
    expect(scores).toEqual([-16, -1, -2.25]);
  });

  it("is never worse than the best run by its own measure, and keeps equals", () => {
    const members = [Float32Array.of(3, 1), Float32Array.of(3, 1), Float32Array.of(-9, 2)];
    const { chosen, scores } = greedySoup(members, near(2, 1));
    expect(chosen).toEqual([0, 1]);
    expect(near(2, 1)(meanParameters(chosen.map((i) => members[i]!)))).toBeGreaterThanOrEqual(Math.max(...scores));
  });
});
