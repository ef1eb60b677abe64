import { expect, it } from "vitest";
import { drawIndex, runningSums } from "../../../../backend/common/numerics/running-sums.ts";
import { Random } from "../../../../backend/common/random.ts";

it("an index is drawn in proportion to its weight, whatever the weights' sum, and never one without weight", () => {
  const sums = runningSums(Float64Array.of(1, 0, 5, 2));
  expect([...sums]).toEqual([1, 1, 6, 8]);
  const random = new Random(0, 1);
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < 40_000; i++) counts[drawIndex(sums, random)]!++;
  expect(counts[1]).toBe(0);
  [1 / 8, 0, 5 / 8, 2 / 8].forEach((share, i) => {
    expect(Math.abs(counts[i]! / 40_000 - share)).toBeLessThan(0.012);
  });
});
