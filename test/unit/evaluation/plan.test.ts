import { describe, expect, it } from "vitest";
import { checkPlan, type EvaluateOptions, planEvaluation } from "../../../backend/evaluation/plan.ts";
import type { ModelDescription } from "../../../backend/models/sources/source.ts";

const options = (changes: Partial<EvaluateOptions> = {}): EvaluateOptions => ({
  policies: [{ name: "snapkv" }],
  tasks: [{ name: "multi-key" }],
  lengths: [512],
  ...changes,
});
/** A model of which nothing is looked at but its context, where no policy has a file. */
const modelOf = (n_ctx: number) => ({ ref: "m", family: "m", digest: "m", config: { n_ctx } }) as ModelDescription;
const pointsOf = async (changes: Partial<EvaluateOptions>) =>
  (await planEvaluation(options(changes))).points.map(({ label, budget }) => [label, budget]);

describe("an evaluation's points", () => {
  it("are full attention, every policy at every budget, and random at each of them", async () => {
    expect(await pointsOf({ budgets: [0.25, 128] })).toEqual([
      ["full", null],
      ["snapkv", 0.25],
      ["snapkv", 128],
      ["random", 0.25],
      ["random", 128],
    ]);
  });

  it("have random once where it is asked for", async () => {
    const labels = (await pointsOf({ policies: [{ name: "random" }], budgets: [0.5] })).map(([label]) => label);
    expect(labels).toEqual(["full", "random"]);
  });

  it("have a policy once that follows no budget", async () => {
    const policies = [{ name: "snapkv", params: { ratio: 0.3 } }];
    expect(await pointsOf({ policies, budgets: [0.25, 0.5] })).toContainEqual(["snapkv", null]);
    expect(await pointsOf({ policies, budgets: [0.25, 0.5] })).toHaveLength(4);
  });

  it("name policies that act together by all of them", async () => {
    const policies = [[{ name: "a-shape" }, { name: "tova" }]];
    expect(await pointsOf({ policies, budgets: [0.5] })).toContainEqual(["a-shape+tova", 0.5]);
  });
});

describe("settings", () => {
  it("are the same however the parameters were written", async () => {
    const plans = await Promise.all(
      [{ window: "32" }, { window: 32 }].map((params) => planEvaluation(options({ policies: [{ name: "snapkv", params }] }))), // biome-ignore format: one call
    );
    expect(plans[0]!.settings).toEqual(plans[1]!.settings);
    expect(plans[0]!.settings.policies).toEqual([[{ name: "snapkv", params: { window: 32 } }]]);
  });
});

describe("refused without a model is", () => {
  const cases: [string, Partial<EvaluateOptions>, object][] = [
    ["an unknown policy", { policies: [{ name: "snapvk" }] }, { kind: "usage" }],
    ["an unknown task", { tasks: [{ name: "needles" }] }, { kind: "usage" }],
    ["a task that stands twice", { tasks: [{ name: "multi-key" }, { name: "multi-key" }] }, { field: "tasks" }],
    ["a share of everything", { budgets: [1] }, { field: "budgets" }],
    ["a share of nothing", { budgets: [0] }, { field: "budgets" }],
    ["a budget of half tokens", { budgets: [2.5] }, { field: "budgets" }],
    ["no cases", { cases: 0 }, { field: "cases" }],
    ["no lengths", { lengths: [] }, { field: "lengths" }],
    ["a budget below what stays anyway", { budgets: [32] }, { kind: "usage", field: "budget" }],
    ["a share below what stays anyway", { budgets: [0.1] }, { kind: "input" }],
    ["two policies for the same", { policies: [[{ name: "snapkv" }, { name: "tova" }]] }, { kind: "usage" }],
    ["a mask that is not there", { policies: [{ name: "duo-attention", params: { mask: "none.json" } }] }, { kind: "missing" }], // biome-ignore format: a table
    [
      "a text that is not there",
      { tasks: [{ name: "perplexity", params: { text: "none.txt" } }] },
      { kind: "missing" },
    ],
    ["one token for another in turns", { policies: [{ name: "h2o", params: { when: "decode" } }], mode: "turns" }, { field: ["policies", "mode"] }], // biome-ignore format: a table
    ["new positions in requests", { policies: [{ name: "snapkv", params: { rerotate: true } }], mode: "requests" }, { field: ["policies", "mode"] }], // biome-ignore format: a table
  ];
  const wrong = (changes: object) => changes as Partial<EvaluateOptions>;
  const senseless: [string, Partial<EvaluateOptions>, object][] = [
    ["a policy that is a name alone", wrong({ policies: ["snapkv"] }), { kind: "usage" }],
    ["no policy", wrong({ policies: [null] }), { kind: "usage" }],
    ["a misspelt field of a policy", wrong({ policies: [{ name: "snapkv", parms: {} }] }), { kind: "usage" }],
    ["an intervention of no kind", wrong({ interventions: [{ at: "hook_embed", do: "nothing" }] }), { kind: "usage" }],
    ["a task without a name", wrong({ tasks: [{ task: "needle" }] }), { kind: "usage" }],
  ];
  it.each([...cases, ...senseless])("%s", async (_, changes, error) => {
    await expect(planEvaluation(options(changes))).rejects.toMatchObject(error);
  });

  it("a length beyond the context, with the numbers", async () => {
    const plan = await planEvaluation(options({ lengths: [512, 2048] }));
    expect(() => checkPlan(plan, modelOf(2048))).toThrow(/2,048 tokens.*exceed the context of 2048/);
    expect(() => checkPlan(plan, modelOf(4096))).not.toThrow();
  });
});
