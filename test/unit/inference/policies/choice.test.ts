import { beforeAll, describe, expect, it } from "vitest";
import { generate } from "../../../../backend/inference/generate.ts";
import { choosePolicies, type PolicyRequest } from "../../../../backend/inference/policies/choice.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { errorOf, refused } from "../../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

const TOKENS = randomTokens(1, 40, 96)[0]!;
let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

/** The error of policies given as name and parameters in turn. */
const errorWith = (...requests: [string, object?][]) =>
  errorOf(choosePolicies(requests.map(([name, params = {}]) => ({ name, params: params as Record<string, unknown> }))));

describe("what no model is loaded for", () => {
  it("an unknown policy, and unknown parameters", async () => {
    expect(await errorWith(["snapkw"])).toEqual(refused("usage", { subject: "snapkw" }));
    expect(await errorWith(["snapkv", { windov: 3 }])).toEqual(refused("usage", { field: "windov" }));
    expect(await errorWith(["adakv", { base: "knorm", window: 3 }])).toEqual(refused("usage", { field: "window" }));
  });

  it("a moment of a policy that acts once, and those that go on are named", async () => {
    for (const name of ["snapkv", "adakv", "quest", "kivi", "a-shape"]) {
      const error = await errorWith([name, { when: "decode" }]);
      expect(error).toEqual(refused("usage", { field: "when" }));
      expect(error.remedy).toContain("tova, knorm");
    }
  });

  it.each([1, -0.1, 1.5, "most"])("a ratio of %s", async (ratio) => {
    expect(await errorWith(["tova", { ratio }])).toEqual(refused("usage", { field: "ratio" }));
  });

  it.each([
    ["a name alone", "tova", {}],
    ["nothing", null, {}],
    ["no name", {}, { field: "name" }],
    ["an empty definition", { name: {} }, { field: "name" }],
    ["a misspelt field", { name: "tova", parms: { budget: 4 } }, { subject: "parms" }],
    ["parameters as a list", { name: "tova", params: [4] }, { field: "params" }],
    ["parameters that are null", { name: "tova", params: null }, { field: "params" }],
  ])("a request of %s", async (_, request, error) => {
    expect(await errorOf(choosePolicies([request as PolicyRequest]))).toEqual(refused("usage", error));
  });

  it("a ratio beside a budget", async () => {
    expect(await errorWith(["tova", { ratio: 0.5, budget: 4 }])).toEqual(
      refused("usage", { field: ["ratio", "budget"] }),
    );
  });

  it.each([
    ["streaming-llm", { budget: 4, sinks: 4 }, "4", "sinks"],
    ["snapkv", { budget: 63 }, "64", "window"],
    ["pyramidkv", { budget: 7, window: 8 }, "8", "window"],
    ["expected-attention", { budget: 4 }, "5", "sinks"],
    ["adakv", { budget: 63 }, "64", "window"],
    ["quest", { budget: 16 }, "48", "page"],
  ])("a budget of %s below what always stays, with what to lower", async (name, params, number, lower) => {
    const error = await errorWith([name, params]);
    expect(error).toEqual(refused("usage", { field: "budget", message: number }));
    expect(error.remedy).toMatch(new RegExp(`give at least \\d+, or a lower ${lower}$`));
  });

  it("two policies for the same", async () => {
    expect(await errorWith(["snapkv"], ["tova"])).toEqual(refused("usage", { field: "policies" }));
    expect(await errorWith(["tova"], ["tova"])).toEqual(refused("usage", { field: "policies" }));
  });

  it("heads without a mask or gates, with both, and gates without a rule", async () => {
    expect(await errorWith(["duo-attention"])).toEqual(refused("usage", { field: ["mask", "gates"] }));
    expect(await errorWith(["duo-attention", { mask: "a", gates: "b" }])).toEqual(
      refused("usage", { field: ["mask", "gates"] }),
    );
    expect(await errorWith(["duo-attention", { mask: "a", ratio: 0.5 }])).toEqual(
      refused("usage", { field: ["ratio"] }),
    );
    expect(await errorWith(["duo-attention", { mask: "nowhere.json" }])).toEqual(refused("missing"));
  });
});

describe("what a prompt shows", () => {
  it("is refused with the numbers, where it is too short for what always stays; nothing is left", async () => {
    const before = tf.memory().numTensors;
    const run = (params: object) =>
      errorOf(
        generate(model, { tokens: TOKENS, policies: [{ name: "snapkv", params: params as Record<string, unknown> }] }),
      );
    expect(await run({ ratio: 0.5 })).toEqual(refused("input", { message: "20 of the prompt's 40" }));
    expect(tf.memory().numTensors).toBe(before);
  });

  it("is refused where nothing is cached", async () => {
    const policies = [{ name: "tova" }];
    expect(await errorOf(generate(model, { tokens: TOKENS, policies, useCache: false }))).toEqual(refused("usage"));
  });
});

it("parameters come back as they are used", async () => {
  const { policies } = await generate(model, {
    tokens: TOKENS,
    policies: [{ name: "adakv", params: { window: 6 } }],
    maxTokens: 1,
  });
  expect(policies).toEqual([
    { name: "adakv", params: { base: "snapkv", alpha: 0.2, ratio: 0.5, window: 6, kernel: 5 } },
  ]);
});
