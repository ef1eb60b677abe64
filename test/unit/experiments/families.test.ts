import { describe, expect, test } from "vitest";
import { judge as judgePrism, type MixtureFit, type PrismSeed } from "../../../experiments/families/bayesian-prism.ts";
import type { Comparison } from "../../../experiments/families/compare.ts";
import { type ForgettingFit, judge as judgeForgetting } from "../../../experiments/families/forgetting.ts";
import { frequencies } from "../../../experiments/families/spectrum.ts";
import {
  judge as judgeUncertainty,
  type UncertaintyFit,
  type UncertaintySeed,
} from "../../../experiments/families/uncertainty.ts";

const four = <T>(value: T): T[] => [value, value, value, value];
const verdicts = (claims: readonly { id: string; verdict: string }[]) =>
  Object.fromEntries(claims.map(({ id, verdict }) => [id, verdict]));
const level = (value: number, length = 6) => Array.from({ length }, () => value);
const levels = (values: Record<string, number>) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, level(value)]));
const comparison = (model: number, errors: Record<string, number>, distances: Record<string, number>): Comparison => ({
  model: level(model),
  errors: levels(errors),
  distances: levels(distances),
});

const BAYES = "Bayes' predictor for the mixture";
const OWN = "Bayes' predictor that knows the family";
const UNDECIDED = "inconclusive at this scale";

describe("bayesian-prism", () => {
  const measured = (near = 0.02, single = 0.2, beyond = 1): MixtureFit => ({
    inside: comparison(0.3, { [BAYES]: 0.28, [OWN]: 0.2 }, { [BAYES]: near, [OWN]: 0.1, one: single, other: 0.3 }),
    beyond: comparison(beyond, { [BAYES]: 1, [OWN]: 0.2 }, { [BAYES]: 0.1, [OWN]: 0.8 }),
  });
  const seed = (own = measured(), until = [2, 3, 5]): PrismSeed => ({
    fits: { "gaussian-weights": own, monomials: own, "fourier-series": own },
    spectrum: {
      pairs: [1, 2, 3, 4, 5, 6],
      model: until.map((at) => [1, 2, 3, 4, 5, 6].map((pairs) => (pairs >= at ? 0.9 : 0.1))),
      bayes: [],
    },
  });
  const of = (one: PrismSeed) => verdicts(judgePrism(four(one)));

  test("reproduces all claims where models are the weighted predictor, low frequencies first", () => {
    expect(new Set(Object.values(of(seed())))).toEqual(new Set(["reproduced"]));
  });

  test("does not where models are far from it, and then says nothing of what is beyond", () => {
    expect(of(seed(measured(0.12)))).toMatchObject({ "bayes-monomials": "not reproduced", "no-mass": UNDECIDED });
  });

  test("does not where one family alone is closer, or where the model manages beyond the mixture", () => {
    expect(of(seed(measured(0.05, 0.04)))["weighted"]).toBe("not reproduced");
    expect(of(seed(measured(0.02, 0.2, 0.3)))["no-mass"]).toBe("not reproduced");
  });

  test("takes high frequencies first, or all at once, for no simplicity bias, and is open where none is learned", () => {
    expect(of(seed(measured(), [5, 3, 2]))["low-first"]).toBe("not reproduced");
    expect(of(seed(measured(), [3, 3, 3]))["low-first"]).toBe("not reproduced");
    expect(of(seed(measured(), [3, 4, 99]))["low-first"]).toBe("reproduced");
    expect(of(seed(measured(), [99, 99, 99]))["low-first"]).toBe(UNDECIDED);
  });
});

test("the frequencies of a function are read from its values over a period", () => {
  const values = Array.from({ length: 12 }, (_, i) => {
    const angle = Math.PI * (i / 6 - 1);
    return 0.7 + 2 * Math.cos(angle) - 3 * Math.sin(2 * angle);
  });
  expect(frequencies(values, 3).flat()).toEqual([2, 0, 0, -3, 0, 0].map((part) => expect.closeTo(part, 10)));
});

describe("forgetting", () => {
  const RIDGE = "ridge regression";
  const DISCRETE = "posterior mean over the fixed weights (dMMSE)";
  const measured = (fresh: number, apart: { ridge: number; discrete: number }, changes: { fixed?: number; scaled?: number } = {}): ForgettingFit => ({
    fixed: comparison(changes.fixed ?? 0.2, { [RIDGE]: 0.4, [DISCRETE]: 0.15 }, { [RIDGE]: 0.2, [DISCRETE]: 0.05 }),
    fresh: comparison(fresh, { [RIDGE]: 0.4, [DISCRETE]: 1 }, { [RIDGE]: apart.ridge, [DISCRETE]: apart.discrete }),
    scaled: [level(changes.scaled ?? fresh), level(9)],
  }); // biome-ignore format: one line
  const before = measured(0.45, { ridge: 0.05, discrete: 0.5 });
  const of = (after: ForgettingFit) => verdicts(judgeForgetting(four({ before, after })));

  test("is reproduced where the model goes over to the fixed weights and scaled labels bring it back", () => {
    const after = measured(0.85, { ridge: 0.5, discrete: 0.1 }, { fixed: 0.16, scaled: 0.7 });
    expect(new Set(Object.values(of(after)))).toEqual(new Set(["reproduced"]));
  });

  test("is not where fixed weights suffer too, or scaled labels bring back a fifth", () => {
    const apart = { ridge: 0.5, discrete: 0.1 };
    expect(of(measured(0.85, apart, { fixed: 0.3 }))["forgets"]).toBe("not reproduced");
    expect(of(measured(0.85, apart, { scaled: 0.77 }))["conjugate-prompting"]).toBe("not reproduced");
    expect(of(measured(0.85, { ridge: 0.5, discrete: 0.6 }))["inference"]).toBe("not reproduced");
  });

  test("leaves the rest open where nothing is forgotten", () => {
    expect(of(measured(0.5, { ridge: 0.1, discrete: 0.4 }, { scaled: 0.45 }))).toEqual({
      forgets: "not reproduced",
      inference: UNDECIDED,
      "conjugate-prompting": UNDECIDED,
    });
  });
});

describe("uncertainty", () => {
  const measured = (changes: Partial<UncertaintyFit> = {}): UncertaintyFit => ({
    ...{ loss: level(0.6), bayes: level(0.5), divergence: level(0.05), logs: { model: level(0), bayes: level(0) } },
    ...{ guess: 2, correlation: 0.9, covered: level(0.9), ...changes },
  });
  const far = measured({ divergence: level(0.3) });
  const seed = (changes: Partial<UncertaintySeed> = {}): UncertaintySeed => ({
    ...{ "in-context": measured(), weights: far, noise: far, covariates: measured(), ...changes },
  });
  const of = (changes: Partial<UncertaintySeed> = {}) => verdicts(judgeUncertainty(four(seed(changes)), 4));

  test("is reproduced where the model is Bayes' predictor in training and not on shifted tasks", () => {
    expect(new Set(Object.values(of()))).toEqual(new Set(["reproduced"]));
  });

  test("is not where the divergence is more than a tenth of Bayes' gain, or variances go their own way", () => {
    expect(of({ "in-context": measured({ divergence: level(0.16) }) })["near-bayes"]).toBe("not reproduced");
    expect(of({ "in-context": measured({ correlation: 0.7 }) })["variance"]).toBe("not reproduced");
  });

  test("is not where one of the task shifts leaves the model with Bayes' predictor", () => {
    expect(of({ noise: measured({ divergence: level(0.09) }) })["task-shift"]).toBe("not reproduced");
  });

  test("is not where the ability goes with longer x or with more pairs", () => {
    expect(of({ covariates: measured({ loss: level(1.3) }) })["covariates"]).toBe("not reproduced");
    const worse = measured({ loss: [...level(0.6, 4), 0.8, 0.8] });
    expect(of({ "in-context": worse })["length"]).toBe("not reproduced");
  });
});
