import { describe, expect, it } from "vitest";
import {
  acrossLines,
  clipped,
  connector,
  nearestBox,
  type TokenBox,
} from "../../../frontend/src/components/attention-tokens/boxes.ts";
import {
  averages,
  incoming,
  largest,
  meanIncoming,
  outgoing,
  strongestWeights,
} from "../../../frontend/src/components/attention-tokens/statistics.ts";
import { marksOf, restingMarks, strength } from "../../../frontend/src/components/attention-tokens/strip.ts";
import { weightText } from "../../../frontend/src/format.ts";

/** 4 tokens; the rows sum to one. */
// biome-ignore format: a matrix
const PATTERN = Float32Array.of(
  1, 0, 0, 0,
  0.5, 0.5, 0, 0,
  0.25, 0.5, 0.25, 0,
  0.125, 0.625, 0.125, 0.125,
);

/** Two lines of boxes of 40 x 20 pixels. */
const BOXES: TokenBox[] = [
  { x: 0, y: 10, width: 40, height: 20 },
  { x: 50, y: 10, width: 40, height: 20 },
  { x: 0, y: 60, width: 40, height: 20 },
  { x: 50, y: 60, width: 40, height: 20 },
];

describe("sums of a pattern", () => {
  it("outgoing is a row, incoming a column, the mean one over the queries that can see the key", () => {
    expect([...outgoing(PATTERN, 4, 2)]).toEqual([0.25, 0.5, 0.25, 0]);
    expect([...incoming(PATTERN, 4, 1)]).toEqual([0, 0.5, 0.5, 0.625]);
    expect([...meanIncoming(PATTERN, 4)]).toEqual([0.46875, 0.5416666865348816, 0.1875, 0.125]);
    expect(strongestWeights(incoming(PATTERN, 4, 1), 2)).toEqual([
      { token: 3, weight: 0.625 },
      { token: 1, weight: 0.5 },
    ]);
    expect(largest(PATTERN)).toBe(1);
  });

  it("averages name what they are the mean of", () => {
    const byName = (ids: number[], bos: boolean, pattern = PATTERN) =>
      Object.fromEntries(averages(pattern, ids, bos).map(({ name, value, queries }) => [name, [value, queries]]));
    // Tokens a b c b: only the last one has an earlier occurrence, at 1, followed by 2.
    expect(byName([7, 8, 9, 8], true)).toEqual({
      BOS: [(0.5 + 0.25 + 0.125) / 3, 3],
      "Previous token": [(0.5 + 0.5 + 0.125) / 3, 3],
      Itself: [(0.5 + 0.25 + 0.125) / 3, 3],
      "Same token before": [0.625, 1],
      "After same token": [0.125, 1],
    });
    expect(byName([7, 8, 9, 10], false)).toMatchObject({ "Same token before": [undefined, 0] });
    expect(averages(PATTERN, [7, 8, 9, 8], false)[0]!.name).toBe("First token");
    // Weighted by value a row sums to anything: shares stay the same.
    expect(
      byName(
        [7, 8, 9, 8],
        true,
        PATTERN.map((value) => value * 8),
      ),
    ).toEqual(byName([7, 8, 9, 8], true));
  });

  it("a token that repeats at once has itself as the token after the earlier one, which does not count", () => {
    const after = averages(Float32Array.of(1, 0, 0.5, 0.5), [3, 3], false).find(
      ({ name }) => name === "After same token",
    );
    expect(after).toMatchObject({ value: undefined, queries: 0 });
  });
});

describe("finding tokens", () => {
  it("the nearest box within reach is meant", () => {
    expect(nearestBox(BOXES, { x: 55, y: 15 })).toBe(1);
    expect(nearestBox(BOXES, { x: 44, y: 20 })).toBe(0);
    expect(nearestBox(BOXES, { x: 120, y: 70 })).toBe(3);
    expect(nearestBox(BOXES, { x: 130, y: 70 })).toBeUndefined();
    expect(nearestBox([], { x: 0, y: 0 })).toBeUndefined();
  });

  it("up and down go to the next line and stay at the ends", () => {
    expect(acrossLines(BOXES, 1, 1)).toBe(3);
    expect(acrossLines(BOXES, 2, -1)).toBe(0);
    expect(acrossLines(BOXES, 0, -1)).toBe(0);
    expect(acrossLines(BOXES.slice(0, 3), 1, 1)).toBe(2);
  });

  it("a line ends at the edges of its boxes", () => {
    expect(clipped(BOXES[0]!, { x: 120, y: 20 })).toEqual({ x: 40, y: 20 });
    expect(clipped(BOXES[0]!, { x: 20, y: -80 })).toEqual({ x: 20, y: 10 });
    expect(clipped(BOXES[0]!, { x: 22, y: 21 })).toEqual({ x: 20, y: 20 });
    const up = connector(BOXES[0]!, BOXES[1]!, -1);
    expect(up.over.y).toBeLessThan(20);
    for (const [point, box] of [
      [up.from, BOXES[0]!],
      [up.to, BOXES[1]!],
    ] as const) {
      const onSide = Math.min(Math.abs(point.x - box.x), Math.abs(point.x - box.x - box.width));
      const onTop = Math.min(Math.abs(point.y - box.y), Math.abs(point.y - box.y - box.height));
      expect(Math.min(onSide, onTop)).toBeCloseTo(0, 10);
    }
  });
});

describe("marks of a token", () => {
  it("upper halves are where it looks, lower ones who looks at it, on the head's own scale", () => {
    const marks = marksOf(1, BOXES, {
      outgoing: outgoing(PATTERN, 4, 1),
      incoming: incoming(PATTERN, 4, 1),
      largest: 1,
    });
    expect(marks.upper).toEqual([0.5, 0.5, 0, 0].map(Math.sqrt));
    expect(marks.lower).toEqual([0, 0.5, 0.5, 0.625].map(Math.sqrt));
    expect(marks.lines.map(({ kind }) => kind)).toEqual(["outgoing", "incoming", "incoming"]);
    expect(marks.numbers.map(({ kind, text }) => `${kind} ${text}`)).toContain("incoming 0.625");
  });

  it("negligible weights get no line, and numbers do not overlap", () => {
    const close = BOXES.map((box, i) => ({ ...box, x: i * 12, y: 0, width: 10 }));
    const marks = marksOf(3, close, {
      outgoing: Float32Array.of(0.4, 0.35, 0.001, 0.249),
      incoming: new Float32Array(4),
      largest: 1,
    });
    expect(marks.lines).toHaveLength(2);
    expect(marks.numbers.map(({ text }) => text)).toEqual(["0.400", "0.249"]);
    expect(restingMarks(Float32Array.of(1, 0.25), 1)).toMatchObject({ upper: [], lower: [1, 0.5], lines: [] });
    expect(strength(3, 0)).toBe(0);
  });

  it("weights are written with three decimals, tiny ones with an exponent", () => {
    const weights = [0, 0.5, 0.0123, 0.00012, 1, 12.345];
    expect(weights.map(weightText)).toEqual(["<1e−7", "0.500", "0.012", "1.2e−4", "1.00", "12.3"]);
  });
});
