import { describe, expect, it } from "vitest";
import { type Bench, line, measure } from "../../bench/measure.ts";

/** A side that gives these values in turn; the first is the one that does not count. */
function values(...given: (number | undefined)[]): () => number {
  return () => given.shift() as number;
}

const named = { name: "a figure", unit: "ms", rival: "a rival" };

describe("a row of the bench", () => {
  it("is the median of each side and of the pairs' ratios, without each side's first run", async () => {
    const bench: Bench = { ...named, goal: 0.5, ours: values(999, 10, 30, 20), theirs: values(1, 40, 60, 80) };
    const row = await measure(bench, 3);
    expect(row).toMatchObject({ value: 20, rivalValue: 60, ratio: 0.25, met: true });
  });

  it("is judged by its own value where the promise is a value", async () => {
    const bench: Bench = { ...named, atMost: 700, once: true, ours: values(701), theirs: values(5000) };
    expect(await measure(bench, 5)).toMatchObject({ value: 701, rivalValue: 5000, met: false });
  });

  it("is judged by its own value without a rival too, and by no ratio", async () => {
    const alone: Bench = { ...named, atMost: 700, once: true, ours: values(699), theirs: values(undefined) };
    expect(await measure(alone, 5)).toMatchObject({ rivalValue: null, ratio: null, met: true });
    const open: Bench = { ...named, goal: 1, once: true, ours: values(699), theirs: values(undefined) };
    expect((await measure(open, 5)).met).toBeNull();
  });

  it.each([
    [1.19, true],
    [0.84, true],
    [1.21, false],
    [0.82, false],
  ])("is met within a fifth of a prediction, up or down: %d", async (ratio, met) => {
    const bench: Bench = { ...named, within: 0.2, once: true, ours: values(ratio * 50), theirs: values(50) };
    const row = await measure(bench, 5);
    expect(row.met).toBe(met);
    expect(line(row)).toContain("(goal 1 within 20 %)");
  });

  it("takes no more pairs than it says", async () => {
    let runs = 0;
    const ours = (): number => ++runs;
    await measure({ ...named, goal: 1, most: 2, ours, theirs: () => 1 }, 5);
    expect(runs).toBe(3);
  });

  it("without a promise says neither met nor missed", async () => {
    const row = await measure({ ...named, once: true, ours: values(1), theirs: values(2) }, 5);
    expect(row.met).toBeNull();
    expect(line(row)).not.toMatch(/met|missed|goal/);
  });
});
