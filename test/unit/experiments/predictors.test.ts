import { describe, expect, test } from "vitest";
import { type Comparison, judge } from "../../../experiments/predictors/bayesian-averaging.ts";

const verdicts = (seeds: readonly Comparison[]) =>
  Object.fromEntries(judge(seeds).map(({ id, verdict }) => [id, verdict]));
const four = <T>(value: T): T[] => [value, value, value, value];
const regret = (power: number) => Array.from({ length: 63 }, (_, i) => 2 * (i + 1) ** power);
const seed = (changes: Partial<Comparison> = {}): Comparison => ({
  divergence: { steps: [1, 10, 100], values: [1, 0.4, 0.02] },
  regret: { model: regret(-1), averaging: regret(-1) },
  fresh: { model: 0.1, concept: 1 },
  ...changes,
});
const falling = (values: number[]) => seed({ divergence: { steps: [1, 10, 100], values } });

describe("a comparison with Bayesian averaging", () => {
  test("reproduces all claims where the model becomes the average", () => {
    expect(new Set(Object.values(verdicts(four(seed()))))).toEqual(new Set(["reproduced"]));
  });

  test("does not where a tenth of the divergence is left, or where it rises on the way", () => {
    expect(verdicts(four(falling([1, 0.4, 0.11])))["becomes-averaging"]).toBe("not reproduced");
    expect(verdicts(four(falling([1, 1.2, 0.01])))["becomes-averaging"]).toBe("not reproduced");
  });

  test("tells a regret that falls as 1/T from one that falls as its root, or not at all", () => {
    const of = (model: readonly number[]) =>
      verdicts(four(seed({ regret: { model, averaging: regret(-1) } })))["regret-falls"];
    expect(of(regret(-1.2))).toBe("reproduced");
    expect(of(regret(-0.5))).toBe("not reproduced");
    expect(of(regret(0))).toBe("not reproduced");
  });

  test("decides nothing about a regret that is not above 0", () => {
    const below = regret(-1).map((value, i) => (i === 40 ? -0.01 : value));
    expect(verdicts(four(seed({ regret: { model: below, averaging: regret(-1) } })))["regret-falls"]).toBe(
      "inconclusive at this scale",
    );
  });

  test("takes a model that follows new concepts for no average over the learned ones", () => {
    expect(verdicts(four(seed({ fresh: { model: 0.6, concept: 1 } })))["prior-stays"]).toBe("not reproduced");
  });
});
