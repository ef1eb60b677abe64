import { expect, it } from "vitest";
import { mean, median } from "../../../../backend/common/numerics/averages.ts";

it("the median is the middle number, or lies half-way between the two in the middle", () => {
  expect(median([7, -1, 3])).toBe(3);
  expect(median([10, 9, 2, 100])).toBe(9.5);
  expect(median([4])).toBe(4);
  expect(median(Int32Array.of(12, 3))).toBe(7.5);
});

it("the median leaves the order of its numbers alone", () => {
  const values = [3, 1, 2];
  median(values);
  expect(values).toEqual([3, 1, 2]);
});

it("the mean is the sum over the count", () => {
  expect(mean([1, 2, 6])).toBe(3);
});

it("nothing has neither median nor mean", () => {
  expect([median([]), mean([])]).toEqual([Number.NaN, Number.NaN]);
});
