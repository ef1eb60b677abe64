import { describe, expect, it } from "vitest";
import { compareCircuits } from "../../../../backend/circuits/evaluation/compare.ts";
import { rankCorrelation } from "../../../../backend/common/heads/table.ts";

const edge = (from: string, to: string, score: number) => ({ from, to, score });
const FIRST = { edges: [edge("embed", "a0.h0<q>", 3), edge("a0.h0", "m0", 2), edge("m0", "logits", 1)] };
const SECOND = { edges: [edge("a0.h0", "m0", 5), edge("embed", "a0.h1<k>", 4), edge("m0", "logits", 2)] };

describe("two circuits beside each other", () => {
  it("share edges and nodes, embed and logits not counted", () => {
    const { edges, nodes, rank } = compareCircuits(FIRST, SECOND);
    expect(edges).toEqual({ first: 3, second: 3, both: 2, jaccard: 0.5 });
    expect(nodes).toEqual({ first: 2, second: 3, both: 2, jaccard: 2 / 3 });
    expect(rank).toEqual({ edges: 2, correlation: 1 });
  });

  it("are the same as themselves, and of the first edges those are compared", () => {
    expect(compareCircuits(FIRST, FIRST).edges.jaccard).toBe(1);
    expect(compareCircuits(FIRST, SECOND, { edges: 1 }).edges).toMatchObject({ first: 1, second: 1, both: 0 });
  });

  it.each([
    [{ without: [] }, "input"],
    [{ edges: [], total: 7 }, "mismatch"],
  ])("are refused where there is nothing to compare: %j", (other, kind) => {
    expect(() => compareCircuits({ ...FIRST, total: 81 }, other)).toThrow(expect.objectContaining({ kind }));
  });
});

describe("Spearman's correlation", () => {
  it("is that of ranks, equal values sharing theirs", () => {
    expect(rankCorrelation([1, 2, 3, 4], [10, 20, 30, 400])).toBe(1);
    expect(rankCorrelation([1, 2, 3, 4], [4, 3, 2, 1])).toBe(-1);
    // scipy.stats.spearmanr([1, 2, 2, 4], [1, 3, 2, 4])
    expect(rankCorrelation([1, 2, 2, 4], [1, 3, 2, 4])).toBeCloseTo(0.9486832980505138, 12);
    expect(rankCorrelation([1], [2])).toBeNull();
    expect(rankCorrelation([1, 1], [2, 3])).toBeNull();
  });
});
