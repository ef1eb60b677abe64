import { describe, expect, test } from "vitest";
import type { Comparison } from "../../../../experiments/families/compare.ts";
import { DISCRETE, RIDGE } from "../../../../experiments/families/fixed-weights.ts";
import { type ArmFit, judge, type PromotSeed } from "../../../../experiments/families/promot-claims.ts";

const UNDECIDED = "inconclusive at this scale";
const level = (value: number) => [9, value, value, value]; // of the first x nobody knows anything

const comparison = (model: number, ridge = 0.1, discrete = 0.4): Comparison => ({
  model: level(model),
  errors: { [RIDGE]: level(0.3), [DISCRETE]: level(0.9) },
  distances: { [RIDGE]: level(ridge), [DISCRETE]: level(discrete) },
});

/** @param fresh error on fresh weights without prompt @param fixed error on fixed weights, with the prompt where there is one */
function arm(fresh: number, fixed: number, { prompted = true, ridge = 0.1 } = {}): ArmFit {
  const bare = { fixed: comparison(fixed + (prompted ? 0.2 : 0)), fresh: comparison(fresh, ridge) };
  return { bare, ...(prompted ? { prompted: { fixed: comparison(fixed), fresh: comparison(2) } } : {}) };
}

const plain = (fresh = 0.7, fixed = 0.2, ridge = 0.4) => arm(fresh, fixed, { prompted: false, ridge });
const seed = (changes: Partial<PromotSeed> = {}): PromotSeed => ({
  before: arm(0.4, 0.3, { prompted: false }),
  plain: plain(),
  prompt: arm(0.4, 0.26),
  promot: arm(0.5, 0.22),
  random: arm(0.65, 0.21),
  joint: arm(0.6, 0.2),
  ...changes,
});
const of = (...seeds: PromotSeed[]) =>
  Object.fromEntries(
    judge(seeds.length === 1 ? Array.from({ length: 4 }, () => seeds[0]!) : seeds).map(({ id, verdict }) => [
      id,
      verdict,
    ]),
  );

describe("promot", () => {
  test("is reproduced where the prompt takes the task and the weights keep the other", () => {
    expect(of(seed())).toEqual({
      specialises: "reproduced",
      keeps: "reproduced",
      learns: "reproduced",
      "prompt-first": "reproduced",
    });
  });

  test("is not where more than half of the plain rise is left, or the task is done worse", () => {
    expect(of(seed({ promot: arm(0.56, 0.22) }))["keeps"]).toBe("not reproduced");
    expect(of(seed({ promot: arm(0.5, 0.26) }))["learns"]).toBe("not reproduced");
    expect(of(seed({ random: arm(0.45, 0.2) }))["prompt-first"]).toBe("not reproduced");
  });

  test("is no specialisation where the error rises and answers move away from both predictors alike", () => {
    expect(of(seed({ plain: plain(0.7, 0.2, 0.1) }))["specialises"]).toBe("not reproduced");
  });

  test("leaves open what is kept where plain fine-tuning loses nothing", () => {
    expect(of(seed({ plain: plain(0.45) }))).toEqual({
      specialises: "not reproduced",
      keeps: UNDECIDED,
      learns: "reproduced",
      "prompt-first": UNDECIDED,
    });
  });

  test("takes three of four seeds", () => {
    const bad = seed({ promot: arm(0.69, 0.4) });
    expect(of(seed(), seed(), seed(), bad)).toMatchObject({ keeps: "reproduced", learns: "reproduced" });
    expect(of(seed(), seed(), bad, bad)).toMatchObject({ keeps: "not reproduced", learns: "not reproduced" });
  });
});
