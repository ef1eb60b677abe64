import { describe, expect, it } from "vitest";
import type { ClaimResult } from "../../../../experiments/base.ts";
import { type AnsweredItem, accuracyOf, type ChoiceValues, calibrated, chosen, rights } from "../../../../experiments/meaning/choices.ts"; // biome-ignore format: one line
import { type FragmentCurves, judgeToys, type ToySeed } from "../../../../experiments/meaning/fragment-toys.ts";
import { judge as judgeFaithfulness } from "../../../../experiments/meaning/semantic-faithfulness.ts";
import { judge as judgeFragments } from "../../../../experiments/meaning/semantic-fragments.ts";
import { judge as judgeReasoners } from "../../../../experiments/meaning/semantic-reasoners.ts";
import { FRAGMENTS, PLAIN } from "../../../../synthetic-tasks/reasoning/fragments.ts";

/** A question of three choices with the model's one. */
const item = (answer: number, choice: number): AnsweredItem => ({
  answer,
  logProbs: [0, 1, 2].map((place) => (place === choice ? -1 : -2)),
});
/** Twelve questions of which so many are answered rightly; each answer is right in four. */
const items = (right: number): AnsweredItem[] =>
  Array.from({ length: 12 }, (_, i) => item(i % 3, i < right ? i % 3 : (i + 1) % 3));
const four = (seed: ChoiceValues): ChoiceValues[] => Array.from({ length: 4 }, () => seed);
const verdicts = (claims: readonly ClaimResult[]) => Object.fromEntries(claims.map(({ id, verdict }) => [id, verdict]));

describe("choices", () => {
  it("are the likeliest, and right where they are the answer", () => {
    expect([item(2, 1), item(1, 1)].map(chosen)).toEqual([1, 1]);
    expect(rights([item(2, 1), item(1, 1)])).toEqual([0, 1]);
    expect(accuracyOf(items(9))).toBe(0.75);
  });

  it("are right again, calibrated, where a leaning towards one answer hides what the model knows", () => {
    const leaning = items(12).map(({ answer, logProbs }) => ({ answer, logProbs: logProbs.map((x, c) => (c === 0 ? x + 5 : x)) })); // biome-ignore format: one line
    expect([accuracyOf(leaning), accuracyOf(calibrated(leaning))]).toEqual([1 / 3, 1]);
    const blind = items(12).map(({ answer }) => ({ answer, logProbs: [3, 1, 2] }));
    expect(accuracyOf(calibrated(blind))).toBe(1 / 3);
  });
});

describe("the claims on reasoning in words", () => {
  const seed = (changes: Record<string, number> = {}): ChoiceValues => {
    const story: Record<string, number> = { "deduction, semantic, without rules": 10 };
    for (const kind of ["deduction", "induction", "abduction"])
      Object.assign(story, { [`${kind}, semantic`]: 11, [`${kind}, symbolic`]: 5, [`${kind}, counter`]: 4 });
    return Object.fromEntries(Object.entries({ ...story, ...changes }).map(([name, right]) => [name, items(right)]));
  };

  it("are borne out where meaning makes the difference, each judged once", () => {
    const all = verdicts(judgeReasoners(four(seed())));
    expect(Object.keys(all)).toHaveLength(7);
    expect(new Set(Object.values(all))).toEqual(new Set(["reproduced"]));
  });

  it("are not where letters do as well, and open where words do nothing", () => {
    expect(verdicts(judgeReasoners(four(seed({ "induction, symbolic": 11 }))))).toMatchObject({
      "induction-symbolic": "not reproduced",
      "induction-counter": "reproduced",
    });
    const unable = verdicts(judgeReasoners(four(seed({ "deduction, semantic": 5 }))));
    for (const id of ["deduction-symbolic", "deduction-counter", "without-rules"])
      expect(unable[id]).toBe("inconclusive at this scale");
  });

  it("on going without rules need more than chance, and no loss", () => {
    for (const right of [5, 8])
      expect(verdicts(judgeReasoners(four(seed({ "deduction, semantic, without rules": right }))))["without-rules"]).toBe("not reproduced"); // biome-ignore format: one line
  });
});

describe("the claims on faithfulness", () => {
  /** Answers "yes" or the thing to so many of twelve questions, and a right one to the rest. */
  const seed = (changes: Record<string, AnsweredItem[]> = {}): ChoiceValues => {
    const same = (answer: number, choice: number, often = 12) =>
      Array.from({ length: 12 }, (_, i) => item(answer, i < often ? choice : answer));
    return {
      true: same(0, 0), false: same(1, 1), deleted: same(2, 0, 6), negated: same(1, 0, 6),
      which: same(0, 0), "which-deleted": same(2, 0, 6), "which-negated": same(2, 0, 6),
      straight: same(0, 0), other: same(1, 1), swapped: same(1, 0, 6), ...changes,
    };
  }; // biome-ignore format: a table

  it("are borne out where half of the answers stay", () => {
    const results = judgeFaithfulness(four(seed()));
    expect(new Set(Object.values(verdicts(results)))).toEqual(new Set(["reproduced"]));
    expect(results[0]!.measured["share of right answers that stay"]).toMatch(/^0\.50 /);
  });

  it("are not where the answers change with the story", () => {
    const faithful = seed({ deleted: items(0).map(() => item(2, 2)), negated: items(0).map(() => item(1, 1)), swapped: items(0).map(() => item(1, 1)) }); // biome-ignore format: one line
    expect(verdicts(judgeFaithfulness(four(faithful)))).toMatchObject({
      "deletion-polar": "not reproduced", "negation-polar": "not reproduced", roles: "not reproduced", "deletion-which": "reproduced",
    }); // biome-ignore format: long lines
  });

  it("are open where the model says yes to everything", () => {
    const yes = (answer: number) => items(0).map(() => item(answer, 0));
    const all = verdicts(judgeFaithfulness(four(seed({ false: yes(1), other: yes(1) }))));
    for (const id of ["deletion-polar", "negation-polar", "roles"]) expect(all[id]).toBe("inconclusive at this scale");
    expect(all["deletion-which"]).toBe("reproduced");
  });
});

describe("the claims on fragments", () => {
  const seed = (plain: number, bare: number, shown: number): ChoiceValues =>
    Object.fromEntries([
      [`${PLAIN.name}, without demonstrations`, items(plain)],
      [`${PLAIN.name}, with demonstrations`, items(plain)],
      ...FRAGMENTS.flatMap(({ name }) => [[`${name}, without demonstrations`, items(bare)], [`${name}, with demonstrations`, items(shown)]] as const), // biome-ignore format: one line
    ]);

  it("are borne out where fragments go worse and demonstrations help", () => {
    expect(verdicts(judgeFragments(four(seed(12, 6, 9))))).toEqual({ poor: "reproduced", taught: "reproduced" });
  });

  it("are not where they do not, and open on a model that infers nothing", () => {
    expect(verdicts(judgeFragments(four(seed(12, 12, 12))))).toEqual({ poor: "not reproduced", taught: "not reproduced" }); // biome-ignore format: one line
    expect(verdicts(judgeFragments(four(seed(3, 3, 3))))["poor"]).toBe("inconclusive at this scale");
  });
});

describe("the claims on toys about fragments", () => {
  /** A training of eleven measurements whose accuracies are chance's until a step. @param rises step from which they are what it ends with */
  const training = (plain: number, logic: number, rises = 50): FragmentCurves => {
    const steps = Array.from({ length: 11 }, (_, i) => 50 * i);
    const curve = (end: number) => ({ steps, values: steps.map((step) => (step < rises ? 1 / 3 : end)) });
    return Object.fromEntries([[PLAIN.name, curve(plain)], ...FRAGMENTS.map(({ name }) => [name, curve(logic)])]);
  };
  const toy = (changes: Partial<ToySeed> = {}): ToySeed => ({
    ...{ plain: training(1, 0.35), alone: training(0.4, 0.95), mixed: training(0.97, 0.93) },
    ...changes,
  });
  const judged = (changes: Partial<ToySeed> = {}, steps = 2000) =>
    verdicts(judgeToys(Array.from({ length: 4 }, () => toy(changes)), steps)); // biome-ignore format: one line
  const all = (verdict: string) => ({ "toy-poor": verdict, "toy-mastered": verdict, "toy-inoculated": verdict });

  it("are borne out where fragments go badly, are soon learned, and plain inference stays", () => {
    expect(judged()).toEqual(all("reproduced"));
    const measured = judgeToys([toy()], 2000).map((claim) => claim.measured);
    expect(measured[1]!["steps to 0.9"]).toBe("46");
    expect(measured[2]!["fine-tuned on fragments alone, by seed"]).toBe("0.40");
  });

  it("are open where the toy is not able in plain inference", () => {
    expect(judged({ plain: training(0.85, 0.35) })).toEqual(all("inconclusive at this scale"));
  });

  it("on poor fragments need a difference", () => {
    expect(judged({ plain: training(1, 0.9) })["toy-poor"]).toBe("not reproduced");
  });

  it("on mastery need it to come soon, to stay, and in the mean over all fragments", () => {
    expect(judged({}, 150)["toy-mastered"]).toBe("not reproduced");
    const ending = training(0.4, 0.95);
    const lost = Object.fromEntries(Object.entries(ending).map(([name, { steps, values }]) => [name, { steps, values: values.with(-1, 0.8) }])); // biome-ignore format: one line
    expect(judged({ alone: lost })["toy-mastered"]).toBe("not reproduced");
    expect(judged({ alone: { ...ending, negation: training(0, 0.5)["negation"]! } })["toy-mastered"]).toBe("not reproduced"); // biome-ignore format: one line
  });

  it("on inoculation need both plain inference and fragments", () => {
    for (const mixed of [training(0.94, 0.95), training(1, 0.89)])
      expect(judged({ mixed })).toEqual({ ...all("reproduced"), "toy-inoculated": "not reproduced" });
  });
});
