import { describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { choose, likeliest, probabilityOf } from "../../../backend/inference/sampling.ts";

const LOGITS = Float32Array.of(0.5, 2, -1, 2, -40);

describe("the next token", () => {
  it("is the likeliest one at temperature 0, of equals the first", () => {
    expect(likeliest(LOGITS)).toBe(1);
    expect(choose(LOGITS, 0, new Random(5))).toBe(1);
  });

  it.each([0.5, 1, 3])("is drawn at temperature %f as often as its probability says", (temperature) => {
    const weights = [...LOGITS].map((l) => Math.exp(l / temperature));
    const total = weights.reduce((a, b) => a + b, 0);
    const random = new Random(1);
    const draws = 20_000;
    const counts = [0, 0, 0, 0, 0];
    for (let i = 0; i < draws; i++) counts[choose(LOGITS, temperature, random)]!++;
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
