import { describe, expect, it } from "vitest";
import { HeadscopeError } from "../../../backend/common/errors.ts";
import { edgeSums, headAgreement, patternReach } from "../../../backend/heads/agreement.ts";
import { createPatterns } from "../../../backend/heads/patterns.ts";

const model = { ref: "m", layers: 2, heads: 4, kvHeads: 2 };
const first = { name: "first", values: [[4, 3], [2, 1]], cost: { seconds: 2, forwards: 3 } }; // biome-ignore format: tables
const second = { name: "second", values: [[1, 3], [4, 2]] }; // biome-ignore format: tables
const flat = { name: "flat", values: [[0, 0], [0, 0]] }; // biome-ignore format: tables

describe("ways of finding heads beside each other", () => {
  it("have Spearman's correlation and the share of their best heads in common", () => {
    const agreement = headAgreement(model, [first, second, flat], 0.5);
    // 1 - 6 sum d² / (n (n² - 1)), ranks 4 3 2 1 and 1 3 4 2: d² = 9 + 0 + 4 + 1.
    expect(agreement.correlation[0]![1]).toBeCloseTo(1 - (6 * 14) / (4 * 15), 12);
    expect(agreement.correlation[1]![0]).toBe(agreement.correlation[0]![1]);
    expect(agreement.correlation[0]![0]).toBeCloseTo(1, 12);
    expect(agreement.correlation[0]![2]).toBeNull();
    expect(agreement.top).toBe(2);
    expect(agreement.finders.map(({ top }) => top)).toEqual([
      ["KV 0.0", "KV 0.1"],
      ["KV 1.0", "KV 0.1"],
      ["KV 0.0", "KV 0.1"],
    ]);
    expect(agreement.overlap[0]).toEqual([1, 0.5, 1]);
    expect(agreement.chance).toBe(0.5);
    expect(agreement.finders[0]!.cost).toEqual({ seconds: 2, forwards: 3 });
  });

  it("are at least two, of different names, and a share that holds a head", () => {
    const refused = (...given: Parameters<typeof headAgreement>) => {
      expect(() => headAgreement(...given)).toThrow(
        expect.objectContaining({ name: HeadscopeError.name, kind: "usage" }),
      );
    };
    refused(model, [first]);
    refused(model, [first, first]);
    refused(model, [first, second], 0.01);
    refused(model, [first, second], 1.5);
  });
});

it("a sparse pattern reaches as far as the share of its lines that need not be near, the most of a group", () => {
  const vertical = (a: number, b: number) => ({ pattern: "vertical_and_slash" as const, a, b, score: 1 });
  const shape = { pattern: "stream_llm" as const, a: 100, b: 800, score: 1 };
  const block = { pattern: "block_sparse" as const, a: 10, b: 1, score: 1 };
  const patterns = createPatterns(model, [
    [vertical(30, 70), vertical(10, 90), shape, shape],
    [shape, vertical(100, 100), block, vertical(1, 3)],
  ]);
  expect(patternReach(patterns)).toEqual([
    [0.3, 0],
    [0.5, 1],
  ]);
});

it("a circuit gives a KV head the absolute scores of the edges out of its strongest query head", () => {
  const edges = [
    { from: "a0.h0", score: -1 },
    { from: "a0.h0", score: 0.5 },
    { from: "a0.h1", score: 2 },
    { from: "a1.h3", score: -3 },
    { from: "m0", score: 9 },
    { from: "embed", score: 9 },
  ];
  expect(edgeSums(model, edges)).toEqual([
    [2, 0],
    [0, 3],
  ]);
});
