import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import {
  choose,
  likeliest,
  penalised,
  probabilityOf,
  type Sampling,
  weightsOf,
} from "../../../../backend/inference/decoding/sampling.ts";
import oracle from "../../../oracles/sampling.json" with { type: "json" };

const LOGITS = Float32Array.of(0.5, 2, -1, 2, -40);

describe("the next token", () => {
  it("is the likeliest one at temperature 0, of equals the first", () => {
    expect(likeliest(LOGITS)).toBe(1);
    expect(choose(LOGITS, {}, new Random(5))).toBe(1);
  });

  it.each([0.5, 1, 3])("is drawn at temperature %f as often as its probability says", (temperature) => {
    const weights = [...LOGITS].map((l) => Math.exp(l / temperature));
    const total = weights.reduce((a, b) => a + b, 0);
    const random = new Random(1);
    const draws = 20_000;
    const counts = [0, 0, 0, 0, 0];
    for (let i = 0; i < draws; i++) counts[choose(LOGITS, { temperature }, random)]!++;
    counts.forEach((count, id) => {
      const p = weights[id]! / total;
      expect(Math.abs(count / draws - p)).toBeLessThan(5 * Math.sqrt((p * (1 - p)) / draws) + 1e-9);
    });
  });

  it("has the probability of the softmax, however large the logits are", () => {
    const total = [...LOGITS].reduce((sum, l) => sum + Math.exp(l), 0);
    const far = LOGITS.map((l) => l + 1000);
    for (const logits of [LOGITS, far]) expect(probabilityOf(logits, 0)).toBeCloseTo(Math.exp(0.5) / total, 6);
  });
});

/** The softmax of weights, and of logits under a penalty. */
function probabilities(logits: readonly number[], ids: readonly number[], sampling: Sampling): number[] {
  const { repetitionPenalty = 1 } = sampling;
  const weights = [...weightsOf(penalised(Float32Array.from(logits), repetitionPenalty, new Set(ids)), sampling)];
  const total = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / total);
}

describe("the tokens that a sample is drawn from", () => {
  const cases = oracle.vectors.flatMap(({ logits, ids, cases }, v) =>
    cases.map(({ sampling, probabilities: expected }) => ({ vector: v, sampling, logits, ids, expected })),
  );

  it.each(cases)("are transformers' ones: vector $vector, $sampling", ({ logits, ids, sampling, expected }) => {
    const own = probabilities(logits, ids, sampling);
    expect(own.map((p) => p > 0)).toEqual(expected.map((p) => p > 0));
    own.forEach((p, i) => {
      expect(Math.abs(p - expected[i]!)).toBeLessThan(1e-6);
    });
  });

  it("include all that are as likely as the last of the topK, and of equals at topP's edge the last", () => {
    const logits = [1, 0, 1, 0, 0];
    expect(probabilities(logits, [], { topK: 3 }).map((p) => p > 0)).toEqual([true, true, true, true, true]);
    expect(probabilities(logits, [], { topK: 2 }).map((p) => p > 0)).toEqual([true, false, true, false, false]);
    const { E } = Math;
    const share = (2 * E + 0.5) / (2 * E + 3);
    expect(probabilities(logits, [], { topP: share }).map((p) => p > 0)).toEqual([true, false, true, false, true]);
  });

  it("are drawn alone", () => {
    const random = new Random(3);
    const drawn = new Set(Array.from({ length: 300 }, () => choose(LOGITS, { temperature: 9, topK: 2 }, random)));
    expect([...drawn].sort()).toEqual([1, 3]);
  });

  it("are the same draws as without limits where the limits leave nothing out", () => {
    const draws = (limits: Sampling) => {
      const random = new Random(7);
      return Array.from({ length: 50 }, () => choose(LOGITS, { temperature: 2, ...limits }, random, [0, 1]));
    };
    expect(draws({ topK: 5, topP: 1, minP: 0, repetitionPenalty: 1 })).toEqual(draws({}));
  });

  it("a penalty turns even the likeliest choice to others", () => {
    const random = new Random(0);
    expect(choose(LOGITS, { repetitionPenalty: 1.5 }, random, [1])).toBe(3);
    expect(choose(LOGITS, { repetitionPenalty: 9 }, random, [1, 3])).toBe(0);
  });
});
