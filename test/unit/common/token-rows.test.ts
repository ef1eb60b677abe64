import { describe, expect, it } from "vitest";
import { Random, randomIds, randomRows, repeatedRows } from "../../../backend/common/random.ts";

const pool = { vocabulary: 64, first: 0 };

describe("random rows", () => {
  it("are the same for a seed and others for another", () => {
    const rows = (seed: number) => randomRows(pool, 50, 21, new Random(seed));
    expect(rows(7)).toEqual(rows(7));
    expect(rows(8)).not.toEqual(rows(7));
  });

  it("begin with BOS, which comes nowhere else, and are uniform over the other tokens", () => {
    const rows = randomRows(pool, 500, 21, new Random(7));
    expect(
      rows.every((row) => row[0] === 0 && row.length === 21 && row.slice(1).every((id) => id > 0 && id < 64)),
    ).toBe(true);
    const counts = new Array<number>(64).fill(0);
    for (const id of rows.flatMap((row) => row.slice(1))) counts[id]!++;
    const expected = 10_000 / 63;
    const chi = counts.slice(1).reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    expect(chi).toBeLessThan(106); // 62 degrees of freedom: passed by 1 in 2,000 uniform draws only
  });

  it("hold no token that ends a sequence, unless the vocabulary has no other", () => {
    const drawn = new Set(randomIds({ vocabulary: 4, first: 1, last: 2 }, 200, new Random(1)));
    expect([...drawn].sort()).toEqual([0, 3]);
    expect(randomIds({ vocabulary: 1, first: 0 }, 3, new Random(1))).toEqual([0, 0, 0]);
  });
});

describe("repeated rows", () => {
  it("are BOS and a segment twice, another in each row", () => {
    const random = new Random(3);
    const [a, b] = repeatedRows(0, 2, () => randomIds(pool, 3, random)) as [number[], number[]];
    for (const row of [a, b]) {
      expect(row).toHaveLength(7);
      expect(row[0]).toBe(0);
      expect(row.slice(1, 4)).toEqual(row.slice(4));
    }
    expect(a).not.toEqual(b);
  });
});
