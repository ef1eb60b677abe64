import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { headModel } from "../../../../../backend/common/heads/model.ts";
import { createScores, writeScores } from "../../../../../backend/heads/files.ts";
import { generate } from "../../../../../backend/inference/generate.ts";
import { choosePolicies } from "../../../../../backend/inference/policies/choice.ts";
import { policies } from "../../../../../backend/inference/policies/index.ts";
import { budgetsByScore } from "../../../../../backend/inference/policies/tokens/budgets/headkv.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { initBackend } from "../../../../../backend/runtime/backend.ts";
import { errorOf, refused } from "../../../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";
import { drawnInput, policyDefinitions } from "../../../../helpers/oracles/policies.ts";

const folder = mkdtempSync(join(tmpdir(), "headscope-budgets-"));
const path = join(folder, "scores.json");
const TOKENS = randomTokens(1, 40, 96)[0]!;
/** By query head: the highest of each three is the KV head's. */
const VALUES = [[0.1, 0.4, 0, 0, 0, 0], [0, 0, 0.2, 0, 0.1, 0], [0, 0, 0, 0, 0, 0.3]]; // biome-ignore format: a table
let model: Model;

beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
  const metrics = { retrieval: { axis: "heads" as const, values: VALUES } };
  await writeScores(path, createScores({ model: headModel(model), probe: "retrieval", params: {}, metrics }));
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

const held = async (name: string, params: object): Promise<number[][]> => {
  const request = [{ name, params: { scores: path, ...params } }];
  const { cache } = await generate(model, { tokens: TOKENS, policies: request, maxTokens: 1 });
  return cache.kept!.map((heads) => heads.map((positions) => positions.length));
};

describe("budgets by head", () => {
  it("of headkv are those of a NumPy program of their definition", () => {
    const { seed, sections } = policyDefinitions();
    const { inputs, cases, budgets } = sections["headkv"]!;
    const drawn = [...drawnInput(inputs["scores"]!, seed)].map((x) => x * x);
    const found = (cases as Record<"budget" | "beta" | "window" | "tokens" | "scored", number>[]).map(
      ({ budget, scored, ...rest }) =>
        budgetsByScore(drawn.map((score, i) => (i < scored ? score : 0)), budget, rest), // biome-ignore format: one call
    );
    expect(found).toEqual(budgets);
  });

  it("are even where no head has a score", () => {
    expect(budgetsByScore([0, -1], 10, { beta: 2, window: 1, tokens: 40 })).toEqual([10, 10]);
  });

  it("of headkv and of adakv together are the even budget's, also of the heads alone that do not stream", async () => {
    const sum = (counts: readonly (readonly number[])[]): number => counts.flat().reduce((a, b) => a + b, 0);
    for (const budget of [5, 12, 30, 39]) {
      const params = { budget, window: 4, kernel: 3 };
      for (const beta of [1, 1.2, 10]) expect(sum(await held("headkv", { ...params, beta }))).toBe(6 * budget);
      expect(sum(await held("adakv", { ...params, scores: undefined }))).toBe(6 * budget);
      const heads = { name: "retrieval-heads", params: { scores: path, sinks: 2, recent: 5, prefill: "dense" } };
      const request = [heads, { name: "headkv", params: { ...params, scores: path } }];
      const { cache } = await generate(model, { tokens: TOKENS, policies: request, maxTokens: 1 });
      const full = [[0], [0], [1]].map((own, layer) => own.map((head) => cache.kept![layer]![head]!.length));
      expect(sum(full)).toBe(3 * budget);
    }
  });

  it("are what headkv holds, of the highest scores of a group, and what a head can't hold goes to others", async () => {
    // 12 each, 6 of them in a pool of 36: 6 + 36 share, shares of 1: 0.4 0 / 0.2 0.1 / 0 0.3
    expect(await held("headkv", { budget: 12, beta: 2, window: 4, kernel: 3 })).toEqual([[20, 6], [13, 10], [6, 17]]); // biome-ignore format: a table
    // 180 in a pool: those with a score hold the prompt, and the two without share the other 20.
    expect(await held("headkv", { budget: 30, beta: 1, window: 4, kernel: 3 })).toEqual([[40, 10], [40, 40], [10, 40]]); // biome-ignore format: a table
  });
});

describe("heads by score", () => {
  it("of retrieval-heads keep everything where one of their query heads retrieves", async () => {
    const params = { ratio: 0.5, sinks: 2, recent: 5, prefill: "dense" };
    expect(await held("retrieval-heads", params)).toEqual([[40, 7], [40, 7], [7, 40]]); // biome-ignore format: a table
  });
});

describe("no model is loaded where", () => {
  it.each(["headkv", "retrieval-heads"])("%s has no scores, and the command that makes them is said", async (name) => {
    const run = (params: object) => errorOf(choosePolicies([{ name, params: params as Record<string, unknown> }]));
    const bare = await run({});
    expect(bare).toEqual(refused("usage", { field: "scores" }));
    expect(bare.remedy).toContain("headscope probe retrieval");
    expect(await run({ scores: join(folder, "nowhere.json") })).toEqual(refused("missing", { field: "scores" }));
    const foreign = join(folder, "foreign.json");
    writeFileSync(foreign, '{"0-0": [1]}');
    expect(await run({ scores: foreign })).toEqual(refused("input", { field: "scores" }));
  });

  it("the scores are another model's (told once it is)", async () => {
    const other = randomModel(smallConfig({ n_layers: 2 }));
    for (const name of ["headkv", "retrieval-heads"]) {
      const request = [{ name, params: { scores: path, ...(name === "headkv" ? { budget: 20 } : {}) } }];
      expect(await errorOf(generate(other, { tokens: TOKENS, policies: request }))).toEqual(refused("mismatch"));
    }
    other.dispose();
  });
});

it("the window that headkv keeps is its paper's by default", () => {
  const flags = policies.flags("headkv");
  expect(flags.find(({ name }) => name === "window")).toMatchObject({ default: 8 });
  expect(flags.find(({ name }) => name === "kernel")).toMatchObject({ default: 7 });
});
