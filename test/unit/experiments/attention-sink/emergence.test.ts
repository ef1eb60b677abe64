import { describe, expect, it } from "vitest";
import { makeSpec } from "../../../../backend/training/spec.ts";
import { ARMS, type Arm, armPlan, sinkParameters } from "../../../../experiments/attention-sink/arms.ts";
import { CORPORA, CORPUS_NAMES } from "../../../../experiments/attention-sink/corpora.ts";
import { halfOfFall, judge, sinkClaims } from "../../../../experiments/attention-sink/judge.ts";
import type { SinkCurves } from "../../../../experiments/attention-sink/measure.ts";
import { tasks } from "../../../../synthetic-tasks/index.ts";

const STEPS = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
/** A curve that goes from one value to another between two of the steps. */
const step = (from: number, to: number, when: number) => ({
  steps: STEPS,
  values: STEPS.map((s) => (s < when ? from : to)),
});

/** A seed whose loss falls at step 2, unless said otherwise, and whose strongest head ends at a value from a step on. */
const seed = (end: number, { when = 32, fall = 2, loss = 0.5, first = end, beside = 0 } = {}): SinkCurves => ({
  loss: step(4, loss, fall),
  share: step(0, end > 0.3 ? 0.5 : 0, when),
  strongest: step(0.15, end, when),
  first,
  beside,
});

/** Four equal seeds of each setting, as the paper would have them. */
function paper(changes: Partial<Record<Arm, SinkCurves>> = {}): Record<Arm, SinkCurves[]> {
  const arms: Record<Arm, SinkCurves> = {
    base: seed(0.6),
    slow: seed(0.4, { when: 128 }),
    few: seed(0.2),
    decay: seed(0.8),
    moved: seed(0.6, { first: 0.1 }),
    unmarked: seed(0.5),
    sigmoid: seed(0.1, { loss: 0.52 }),
    "sigmoid-normalised": seed(0.5),
    "key-bias": seed(0.1, { beside: 0.7 }),
    ...changes,
  };
  return Object.fromEntries(ARMS.map((arm) => [arm, Array.from({ length: 4 }, () => ({ ...arms[arm] }))])) as never;
}
const verdicts = (arms: Record<Arm, SinkCurves[]>) =>
  Object.fromEntries(judge(arms, 0.3).map(({ id, verdict }) => [id, verdict]));

describe("claims about attention sinks", () => {
  it("are all borne out by what the paper found, each judged once", () => {
    const all = verdicts(paper());
    expect(Object.keys(all)).toEqual(sinkClaims.map(({ id }) => id));
    expect(new Set(Object.values(all))).toEqual(new Set(["reproduced"]));
  });

  it.each([
    ["after-loss", { base: seed(0.6, { when: 2, fall: 32 }) }],
    ["low-learning-rate", { slow: seed(0.59, { when: 128 }) }],
    ["low-learning-rate", { slow: seed(0.4, { when: 16 }) }],
    ["little-data", { few: seed(0.5) }],
    ["weight-decay", { decay: seed(0.62) }],
    ["moved", { moved: seed(0.6, { first: 0.6 }) }],
    ["moved", { moved: seed(0.2, { first: 0.1 }) }],
    ["first-token", { unmarked: seed(0.2) }],
    ["sigmoid", { sigmoid: seed(0.5) }],
    ["sigmoid-normalised", { "sigmoid-normalised": seed(0.2) }],
    ["key-bias", { "key-bias": seed(0.1, { beside: 0.1 }) }],
    ["key-bias", { "key-bias": seed(0.5, { beside: 0.7 }) }],
  ] as const)("%s is not borne out where its setting shows otherwise (%#)", (id, changes) => {
    const all = verdicts(paper(changes));
    expect(all[id]).toBe("not reproduced");
    expect(Object.values(all).filter((verdict) => verdict === "reproduced")).toHaveLength(sinkClaims.length - 1);
  });

  it("are undecided where the base setting has no sink, or sigmoids learn less", () => {
    const { "weight-decay": _, "first-token": __, ...rest } = verdicts(paper({ base: seed(0.2) }));
    expect(new Set(Object.values(rest))).toEqual(new Set(["inconclusive at this scale"]));
    expect(verdicts(paper({ sigmoid: seed(0.1, { loss: 0.7 }) }))["sigmoid"]).toBe("inconclusive at this scale");
  });

  it("date a loss by the half of its fall", () => {
    expect(halfOfFall(step(4, 1, 8))).toBeCloseTo(6, 10);
  });
});

describe("the settings of attention-sink-emergence", () => {
  const sizes = { context: 24, vocabulary: 64, triggers: 6, contrast: 1.5 };

  it("learn bigrams unless told otherwise, with sizes that the other corpus has not", () => {
    const { task, params } = armPlan("base", sinkParameters.parse({}));
    expect({ task, params }).toMatchObject({ task: "zipf-bigram", params: { ...sizes, marker: 0 } });
    const characters = armPlan("base", sinkParameters.parse({ corpus: "characters" }));
    const { vocabulary, triggers, contrast, ...rest } = params as Record<string, unknown>;
    expect(characters).toMatchObject({ task: "character-text", params: rest });
    expect(Object.keys(characters.params)).toEqual(Object.keys(rest));
  });

  it.each(CORPUS_NAMES)("are taken by the task of %s, and differ by what they are called after", (corpus) => {
    const params = sinkParameters.parse({ corpus });
    const specs = ARMS.map((arm) => {
      const plan = armPlan(arm, params);
      const spec = makeSpec(tasks.get(plan.task), plan.params);
      tasks.get(plan.task).check(spec.params);
      return JSON.stringify(spec);
    });
    expect(new Set(specs).size).toBe(ARMS.length);
  });

  it.each(CORPUS_NAMES)("have a least loss of %s below that of guessing", (corpus) => {
    const { task, leastLoss, symbols } = CORPORA[corpus];
    const { params } = armPlan("unmarked", sinkParameters.parse({ corpus }));
    const run = { taskParams: makeSpec(tasks.get(task), params).params, seed: 0 };
    const least = leastLoss([run], sizes);
    expect(least).toBeGreaterThan(0);
    expect(least).toBeLessThan(Math.log(symbols(sizes)) / 2);
    expect(leastLoss([run, { ...run, seed: 1 }], sizes)).not.toBe(least);
  });
});
