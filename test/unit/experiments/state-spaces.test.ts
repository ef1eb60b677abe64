import { beforeAll, describe, expect, it } from "vitest";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { makeSpec } from "../../../backend/training/spec.ts";
import type { ExperimentContext, TrainedRun } from "../../../experiments/base.ts";
import { armsOf, planOf, stateParameters, TASKS } from "../../../experiments/state-spaces/arms.ts";
import { judge, lengthCopied, type StateResults, stateClaims } from "../../../experiments/state-spaces/judge.ts";
import { lengthsOf, measureArm, pairsOf, type StateAccuracies } from "../../../experiments/state-spaces/measure.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { randomModel, smallConfig } from "../../helpers/models.ts";

const LENGTHS = [2, 4, 8, 12, 16];
const seeds = (copy: number[], recall: number, near: number, far: number): StateAccuracies[] =>
  Array.from({ length: 4 }, () => ({ copy, recall: [1, 1, recall], near, far }));

/** What the papers would find. */
function paper(changes: Partial<Record<"attention" | "small" | "large", StateAccuracies[]>> = {}): StateResults {
  const { attention, small, large } = {
    attention: seeds([1, 1, 1, 1, 0.9], 1, 1, 1),
    small: seeds([1, 0.8, 0.5, 0.3, 0.2], 0.3, 0.5, 0.2),
    large: seeds([1, 1, 0.95, 0.8, 0.5], 0.9, 1, 0.9),
    ...changes,
  };
  return { attention, recurrent: { "linear-recurrence": [small, large], selective: [small, large] } };
}
const verdicts = (results: StateResults) =>
  Object.fromEntries(judge(results, LENGTHS).map(({ id, verdict }) => [id, verdict]));

describe("claims about states", () => {
  it("are all borne out by what the papers found, each judged once", () => {
    const all = verdicts(paper());
    expect(Object.keys(all)).toEqual(stateClaims.map(({ id }) => id));
    expect(new Set(Object.values(all))).toEqual(new Set(["reproduced"]));
  });

  it.each([
    [["copy-linear-recurrence", "copy-selective"], { large: seeds([1, 0.8, 0.5, 0.3, 0.2], 0.9, 1, 0.9) }],
    [["copy-attention"], { attention: seeds([1, 0.8, 1, 1, 0.9], 1, 1, 1) }],
    [["copy-longer"], { attention: seeds([1, 1, 1, 1, 0.55], 1, 1, 1) }],
    [["recall-linear-recurrence", "recall-selective"], { large: seeds([1, 1, 0.95, 0.8, 0.5], 0.35, 1, 0.9) }],
    [["recall-attention"], { attention: seeds([1, 1, 1, 1, 0.9], 0.8, 1, 1) }],
    [
      ["forgetting-linear-recurrence", "forgetting-selective"],
      { small: seeds([1, 0.8, 0.5, 0.3, 0.2], 0.3, 0.5, 0.45) },
    ],
  ] as const)("%j is not borne out where its arm shows otherwise", (ids, changes) => {
    const failed = Object.entries(verdicts(paper(changes))).filter(([, verdict]) => verdict === "not reproduced");
    expect(failed.map(([id]) => id)).toEqual([...ids]);
  });

  it("are undecided where nothing is copied or recalled at all", () => {
    const none = seeds([0.1, 0.1, 0.1, 0.1, 0.1], 0.1, 0.1, 0.1);
    const all = verdicts(paper({ attention: none, small: none, large: none }));
    const open = Object.entries(all).filter(([, verdict]) => verdict === "inconclusive at this scale");
    expect(open.map(([id]) => id)).toEqual([
      ...["copy-linear-recurrence", "copy-selective", "copy-longer"],
      ...["forgetting-linear-recurrence", "forgetting-selective"],
    ]);
  });

  it("take the length copied from all lengths up to it", () => {
    expect(lengthCopied([2, 4, 8], [1, 0.8, 1])).toBe(2);
    expect(lengthCopied([2, 4, 8], [1, 1, 1])).toBe(8);
    expect(lengthCopied([2, 4, 8], [0.5, 1, 1])).toBe(0);
  });
});

describe("the arms", () => {
  const params = stateParameters.parse({});

  it("are attention and each recurrence with every state, all of which can be trained on both tasks", () => {
    const arms = armsOf(params);
    expect(arms.map(({ mixer, state }) => `${mixer} ${state ?? ""}`.trim())).toEqual([
      "attention",
      ...["linear-recurrence 2", "linear-recurrence 16"],
      ...["selective 2", "selective 16"],
    ]);
    for (const arm of arms)
      for (const task of TASKS) expect(() => makeSpec(tasks.get(task), planOf(task, arm, params).params)).not.toThrow();
    expect([lengthsOf(params), pairsOf(params)]).toEqual([LENGTHS, [2, 4, 8]]);
  });
});

describe("accuracies of a model", () => {
  beforeAll(async () => void (await initBackend()));

  it("are near chance before anything is trained, by length, pairs and distance, and leave no tensor", async () => {
    const params = stateParameters.parse({ evaluation_rows: 64 });
    const arm = { mixer: "selective", state: 2 } as const;
    const run = (task: (typeof TASKS)[number]): TrainedRun => ({
      ...{ id: task, seed: 1, checkpoints: [0], curves: new Map() },
      taskParams: makeSpec(tasks.get(task), planOf(task, arm, params).params).params,
    });
    const shape = { n_layers: 1, n_key_value_heads: 6, mixer: ["selective"], d_vocab: 64 } as const;
    const context = {
      signal: new AbortController().signal,
      model: async () => randomModel(smallConfig({ ...shape, mixer: ["selective"] })),
    } as unknown as ExperimentContext;
    const before = tf.memory().numTensors;
    const [found] = await measureArm([run("copy")], [run("associative-recall")], params, context);
    expect(tf.memory().numTensors).toBe(before);
    expect([found!.copy.length, found!.recall.length]).toEqual([5, 3]);
    for (const accuracy of [...found!.copy, ...found!.recall, found!.near, found!.far])
      expect(accuracy).toBeLessThan(0.3);
  });
});
