import { describe, expect, test } from "vitest";
import type { ClaimResult } from "../../../experiments/base.ts";
import {
  type Curve,
  comesFirst,
  crossing,
  finalValue,
  meanLine,
  rise,
  spread,
  upperEnvelope,
} from "../../../experiments/curves.ts";
import { judge as judgeAbrupt } from "../../../experiments/emergence/abrupt-learning.ts";
import type { SettingOutcome, Transition } from "../../../experiments/emergence/figures/abrupt-learning.ts";
import type { Emergence } from "../../../experiments/emergence/figures/induction-emergence.ts";
import { judge as judgeInduction } from "../../../experiments/emergence/induction-emergence.ts";
import { experiments } from "../../../experiments/index.ts";
import { tally, tradeOff, vote, weighed } from "../../../experiments/verdicts.ts";

const STEPS = Array.from({ length: 101 }, (_, i) => 10 * i);
const curve = (of: (step: number) => number): Curve => ({ steps: STEPS, values: STEPS.map(of) });
/** A jump from one level to another. */
const jump = (at: number, from: number, to: number) => curve((step) => (step < at ? from : to));
/** A steady rise over all steps. */
const ramp = (from: number, to: number) => curve((step) => from + ((to - from) * step) / 1000);

const verdicts = (results: readonly ClaimResult[]) =>
  Object.fromEntries(results.map(({ id, verdict }) => [id, verdict]));
const four = <T>(value: T): T[] => [value, value, value, value];

describe("curves", () => {
  test("end with the mean of their last three measurements", () => {
    expect(finalValue({ steps: [0, 1, 2, 3], values: [9, 1, 2, 3] })).toBe(2);
  });

  test("pass a level between two measurements, and a single measurement above it does not count", () => {
    expect(crossing({ steps: [0, 10, 20], values: [0, 0, 1] }, 0.5)).toBe(15);
    expect(crossing({ steps: [0, 10, 20, 30, 40], values: [0, 1, 0, 1, 1] }, 0.5)).toBe(25);
    expect(crossing({ steps: [5, 10], values: [1, 1] }, 0.5)).toBe(5);
    expect(crossing({ steps: [0, 10], values: [0, 0.4] }, 0.5)).toBeUndefined();
  });

  test("rise with a width of 1 when steady, 1.6 when exponential, near 0 in a jump", () => {
    const steady: Curve = { steps: [0, 1, 2, 3, 4, 5, 6], values: [0, 1, 2, 3, 4, 4, 4] };
    expect(rise(steady)).toMatchObject({ quarter: 1, half: 2, threeQuarters: 3, width: 1 });
    expect(rise(curve((step) => 1 - Math.exp(-step / 100))).width).toBeCloseTo(Math.log(3) / Math.log(2), 2);
    expect(rise(jump(500, 0, 1)).width).toBeLessThan(0.02);
    expect(rise(jump(500, 1, 0))).toMatchObject({ half: undefined, width: undefined });
    expect(rise(jump(500, 0.25, 1), 0.5).half).toBeCloseTo(490 + (10 * 0.5) / 0.75);
  });

  test("can be told apart in time where two measurements lie between", () => {
    expect(comesFirst(101, 135, STEPS)).toBe(true);
    expect(comesFirst(135, 101, STEPS)).toBe(false);
    expect([comesFirst(101, 115, STEPS), comesFirst(undefined, 5, STEPS)]).toEqual([undefined, undefined]);
  });

  test("of several heads or runs are put together step by step", () => {
    const [a, b] = [
      { steps: [0, 1], values: [1, 2] },
      { steps: [0, 1], values: [3, 0] },
    ] as const;
    expect(upperEnvelope([a, b]).values).toEqual([3, 2]);
    // Of 1 and 3, and of 2 and 0: mean ± t · s / √2, with t = 12.706 of one degree of freedom and s = √2.
    const { band, ...line } = meanLine("m", [a, b]);
    expect(line).toEqual({ name: "m", x: [0, 1], y: [2, 1] });
    expect(band!.low).toEqual([2 - 12.706, 1 - 12.706].map((low) => expect.closeTo(low, 10)));
    expect(band!.high).toEqual([2 + 12.706, 1 + 12.706].map((high) => expect.closeTo(high, 10)));
    expect(meanLine("m", [a]).band).toBeUndefined();
    expect([spread([3.4, undefined, 10]), spread([7]), spread([undefined])]).toEqual(["3 to 10", "7", "–"]);
  });
});

describe("rules", () => {
  test("three quarters of the seeds decide, unless more than a quarter cannot say", () => {
    const of = (...votes: (boolean | undefined)[]) => vote(votes, "it does", "it did not happen").verdict;
    expect(of(true, true, true, false)).toBe("reproduced");
    expect(of(true, true, true, undefined)).toBe("reproduced");
    expect(of(true, true, false, undefined)).toBe("not reproduced");
    expect(of(true, true, undefined, undefined)).toBe("inconclusive at this scale");
    expect(of()).toBe("inconclusive at this scale");
    expect(vote([true, false, undefined], "it does", "it did not happen").why).toContain(
      "In 1 of 3 seeds it did not happen",
    );
    const one = [true, false, undefined].map((only) => vote([only], "it does", "it did not happen").why);
    expect(one).toEqual(["1 of 1 seed: it does.", "Only 0 of 1 seed: it does.", "In 1 of 1 seed it did not happen."]);
  });

  test("fewer seeds or steps than the preset's decide nothing, whatever they say", () => {
    const of = (verdict: ClaimResult["verdict"], seeds: number, steps: number) =>
      weighed(
        { id: "a", verdict, measured: { x: 1 }, why: "1 of 1 seeds: it does." },
        { seeds: { given: seeds, wanted: 4 }, extent: { name: "steps", given: steps, wanted: 1200 } },
      );
    expect(of("reproduced", 1, 1200)).toMatchObject({ verdict: "too few seeds to tell", measured: { x: 1 } });
    expect(of("reproduced", 1, 1200).why).toMatch(/too few seeds to tell \(1 of 4\)/i);
    expect(of("not reproduced", 3, 500).verdict).toBe("too few seeds to tell");
    expect(of("not reproduced", 4, 500)).toMatchObject({ verdict: "not trained to the end" });
    expect(of("not reproduced", 4, 500).why).toContain("500 of 1,200 steps");
    for (const verdict of ["reproduced", "not reproduced", "inconclusive at this scale"] as const) {
      expect(of(verdict, 4, 1200).verdict).toBe(verdict);
      expect(of(verdict, 8, 2000).verdict).toBe(verdict);
    }
  });

  test("fewer prompts than the preset's decide nothing, and say so by their own name", () => {
    const result = weighed(
      { id: "a", verdict: "reproduced", measured: {}, why: "4 of 4 seeds: it does." },
      { seeds: { given: 4, wanted: 4 }, extent: { name: "prompts", given: 4, wanted: 8 } },
    );
    expect(result).toMatchObject({
      verdict: "too little measured to tell",
      why: "Measured on 4 of 8 prompts. So far: 4 of 4 seeds: it does.",
    });
  });

  test("a trade-off needs both accuracies to move, apart", () => {
    expect(tradeOff(0.2, -0.2).verdict).toBe("reproduced");
    expect(tradeOff(0.9, -0.1).verdict).toBe("inconclusive at this scale");
    expect(tradeOff(0.9, 0.1).verdict).toBe("not reproduced");
    expect(tradeOff(-0.1, -0.9).verdict).toBe("not reproduced");
  });

  test("a summary counts the verdicts", () => {
    const claim = (id: string, verdict: ClaimResult["verdict"]) => ({ id, verdict, measured: {}, why: "" });
    expect(tally([claim("a", "reproduced"), claim("b", "not reproduced"), claim("c", "reproduced")])).toBe(
      "2 of 3 claims reproduced (a, c); 1 of 3 claims not reproduced (b)",
    );
  });
});

describe("induction-emergence decides", () => {
  const textbook: Emergence = {
    accuracy: jump(500, 0.02, 0.98),
    induction: jump(490, 0.02, 0.9),
    previous: jump(300, 0.05, 0.8),
    layers: { previous: 0, induction: 1 },
    oneLayer: jump(500, 0.02, 0.1),
  };
  const judged = (change: Partial<Emergence>) => verdicts(judgeInduction(four({ ...textbook, ...change }), 1 / 63));

  test("a textbook run: everything reproduced, and the steps are reported", () => {
    const results = judgeInduction(four(textbook), 1 / 63);
    expect(new Set(results.map(({ verdict }) => verdict))).toEqual(new Set(["reproduced"]));
    expect(results.map(({ id }) => id)).toEqual(experiments.get("induction-emergence").claims.map(({ id }) => id));
    const order = results.find(({ id }) => id === "previous-token-first")!;
    expect(order.measured["step of the half, previous-token score"]).toBe("295");
  });

  test("a model that never learns: nothing about the ability can be said", () => {
    const flat = ramp(0.02, 0.03);
    expect(judged({ accuracy: flat, induction: flat, previous: flat })).toEqual({
      "phase-change": "inconclusive at this scale",
      together: "inconclusive at this scale",
      "previous-token-first": "inconclusive at this scale",
      "two-layer-circuit": "inconclusive at this scale",
      "one-layer-fails": "inconclusive at this scale",
    });
  });

  test.each<[string, Partial<Emergence>, string]>([
    ["a steady rise", { accuracy: ramp(0, 1) }, "phase-change"],
    ["an induction score that comes much later", { induction: jump(800, 0.02, 0.9) }, "together"],
    ["an induction head before its previous-token head", { induction: jump(200, 0.02, 0.9) }, "previous-token-first"],
    ["an induction head in the first layer", { layers: { previous: 0, induction: 0 } }, "two-layer-circuit"],
    ["an ability without an induction head", { induction: jump(490, 0.02, 0.3) }, "two-layer-circuit"],
    ["one layer that learns as well", { oneLayer: jump(600, 0.02, 0.9) }, "one-layer-fails"],
  ])("%s: not reproduced", (_, change, id) => {
    expect(judged(change)[id]).toBe("not reproduced");
  });

  test("heads that come too close together to tell: inconclusive", () => {
    expect(judged({ previous: jump(490, 0.05, 0.8) })["previous-token-first"]).toBe("inconclusive at this scale");
  });
});

describe("abrupt-learning decides", () => {
  const point = (value: number, inContext: number, inWeights: number): SettingOutcome => ({
    value,
    inContext,
    inWeights,
    guess: 0.05,
  });
  const up = [point(0, 0.1, 0.9), point(1, 0.9, 0.1)];
  const laid = (explained: number): Transition["nested"] => {
    const loss = jump(500, 1.4, 0);
    return { start: 0, rate: 1, explained, error: 1 - explained, curve: loss };
  };
  const textbook: Transition = {
    accuracy: jump(500, 0.25, 1),
    loss: jump(500, 1.4, 0),
    nested: laid(0.95),
    single: laid(0.8),
    itemLabel: jump(300, 0.26, 0.9),
    queryLabel: jump(400, 0.11, 0.9),
  };
  const sweeps = { K: up, B: up, alpha: [point(0, 0.9, 0.1), point(1, 0.9, 0.6)] };
  const judged = (change: Partial<Transition>, other: Partial<typeof sweeps> = {}) =>
    verdicts(judgeAbrupt(four({ ...textbook, ...change }), { ...sweeps, ...other }, 0.25));

  test("a textbook run: everything reproduced", () => {
    const results = judgeAbrupt(four(textbook), sweeps, 0.25);
    expect(new Set(results.map(({ verdict }) => verdict))).toEqual(new Set(["reproduced"]));
    expect(results.map(({ id }) => id)).toEqual(experiments.get("abrupt-learning").claims.map(({ id }) => id));
  });

  test("a plateau at guessing among the context's labels is not part of the rise", () => {
    // 0.1 to 0.25 early on, then the jump: from 0.1 on, the rise would begin with the early step.
    const accuracy = curve((step) => (step < 50 ? 0.1 : step < 500 ? 0.3 : 1));
    expect(judged({ accuracy })["abrupt"]).toBe("reproduced");
  });

  test.each<[string, Partial<Transition>, string, string]>([
    ["a steady rise", { accuracy: ramp(0.25, 1) }, "abrupt", "not reproduced"],
    ["no rise", { accuracy: jump(500, 0.25, 0.4) }, "abrupt", "inconclusive at this scale"],
    ["attention to the item that follows the accuracy", { itemLabel: jump(700, 0.26, 0.9) }, "item-label-first", "not reproduced"],
    ["attention to labels that follows the accuracy", { queryLabel: jump(700, 0.1, 0.9) }, "query-label-first", "not reproduced"],
    ["attention that comes with the accuracy", { queryLabel: jump(500, 0.1, 0.9) }, "query-label-first", "inconclusive at this scale"],
    ["no rise", { accuracy: jump(500, 0.25, 0.4) }, "item-label-first", "inconclusive at this scale"],
    ["nested logits that explain too little", { nested: laid(0.85), single: laid(0.1) }, "nested-logits", "not reproduced"],
    ["one logit that does nearly as well", { nested: laid(0.98), single: laid(0.97) }, "nested-logits", "not reproduced"],
    ["no rise", { accuracy: jump(500, 0.25, 0.4) }, "nested-logits", "inconclusive at this scale"],
  ])("%s: %s", (_, change, id, verdict) => {
    expect(judged(change)[id]).toBe(verdict);
  }); // biome-ignore format: a case a line

  test.each<[string, Partial<typeof sweeps>, string, string]>([
    ["in-weights accuracy that stays", { K: [point(1, 0.1, 0.9), point(2, 0.9, 0.9)] }, "trade-off-k", "inconclusive at this scale"],
    ["in-context accuracy that falls", { B: [point(0, 0.9, 0.9), point(4, 0.1, 0.1)] }, "trade-off-b", "not reproduced"],
    ["contexts so bursty that guessing does as well", { B: [point(0, 0.05, 0.9), { ...point(2, 0.5, 0.1), guess: 0.5 }] }, "trade-off-b", "inconclusive at this scale"],
    ["an α that helps a little", { alpha: [point(0, 0.9, 0.1), point(1, 0.9, 0.15)] }, "zipf-keeps-both", "inconclusive at this scale"],
    ["an α that costs the ability in context", { alpha: [point(0, 0.9, 0.3), point(1, 0.2, 0.9)] }, "zipf-keeps-both", "not reproduced"],
  ])("%s: %s", (_, change, id, verdict) => {
    expect(judged({}, change)[id]).toBe(verdict);
  }); // biome-ignore format: a case a line
});
