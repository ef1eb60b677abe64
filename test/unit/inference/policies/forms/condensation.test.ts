import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { maskFromKvHeads } from "../../../../../backend/common/heads/mask.ts";
import { headModel } from "../../../../../backend/common/heads/model.ts";
import {
  type GenerateOptions,
  generate,
  generateBatch,
  readPrefix,
} from "../../../../../backend/inference/generate.ts";
import type { Generation } from "../../../../../backend/inference/generation.ts";
import { atBudget } from "../../../../../backend/inference/policies/budget.ts";
import { choosePolicies } from "../../../../../backend/inference/policies/choice.ts";
import { policies as all } from "../../../../../backend/inference/policies/index.ts";
import { pageBytes } from "../../../../../backend/kernels/pages.ts";
import { PAGE } from "../../../../../backend/models/cache/page-rows.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";

await kernelsHere();
const NEW = 5;
const TOKENS = randomTokens(1, 300, 96, 5)[0]!;
/** Temporary files of these tests alone. */
const folder = mkdtempSync(join(tmpdir(), "headscope-condensation-"));
vi.stubEnv("TMPDIR", folder);
let model: Model;

beforeAll(async () => {
  model = randomModel(smallConfig());
  await generate(model, { tokens: [1] }); // makes the tables of rotations, which the model keeps
});
afterAll(() => {
  model.dispose();
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

const policyOf = (name: string) => all.get(name);
type Policies = NonNullable<GenerateOptions["policies"]>;
/** By title, parameters under which nothing is lost. */
const LOSSLESS: [string, Policies][] = [
  ["xkv at full rank", [{ name: "xkv", params: { ratio: 0, layers: 2 } }]],
  ["shadowkv at full rank, everything fetched", [{ name: "shadowkv", params: { rank: 16, ratio: 0 } }]],
  ["shadowkv from disk", [{ name: "shadowkv", params: { rank: 16, ratio: 0, offload: "disk" } }]],
];
const LOSSY: [string, Policies][] = [
  ["xkv", [{ name: "xkv", params: { layers: 3 } }]],
  ["shadowkv", [{ name: "shadowkv", params: { budget: 64, outliers: 2 } }]],
  ["shadowkv from disk", [{ name: "shadowkv", params: { budget: 64, offload: "disk" } }]],
];

async function run(options: GenerateOptions): Promise<Generation & { steps: Float32Array[] }> {
  const steps: Float32Array[] = [];
  const onStep: GenerateOptions["onStep"] = ({ logits }) => void steps.push(logits!.dataSync().slice() as Float32Array);
  return { ...(await generate(model, { stop: [], maxTokens: NEW, onStep, ...options })), steps };
}

const furthest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

describe("prompts held in another form", () => {
  it.each(LOSSLESS)("are read as full attention reads them: %s", async (_, policies) => {
    for (const tokens of [TOKENS, TOKENS.slice(0, 131), TOKENS.slice(0, 5)]) {
      const [plain, under] = [await run({ tokens }), await run({ tokens, policies })];
      expect(under.ids).toEqual(plain.ids);
      expect(under.steps[0]).toEqual(plain.steps[0]);
      under.steps.forEach((logits, i) => void expect(furthest(logits, plain.steps[i]!)).toBeLessThan(1e-3));
      expect(under.cache.kept).toBeUndefined();
    }
  });

  it.each(LOSSLESS)("go through plain tensors alike: %s", async (_, policies) => {
    const hooks = [["blocks.1.attn.hook_attn_scores", () => undefined]] as const;
    const [plain, under] = [await run({ tokens: TOKENS }), await run({ tokens: TOKENS, policies, forward: { hooks } })];
    under.steps.forEach((logits, i) => void expect(furthest(logits, plain.steps[i]!)).toBeLessThan(1e-3));
  });

  it.each(LOSSY)("lose something, free the rows and leave nothing behind: %s", async (_, policies) => {
    const [tensors, pages, files] = [tf.memory().numTensors, pageBytes(), readdirSync(tmpdir()).length];
    const plain = await run({ tokens: TOKENS });
    const under = await run({ tokens: TOKENS, policies });
    expect(furthest(under.steps[1]!, plain.steps[1]!)).toBeGreaterThan(1e-3);
    expect(under.cache.bytes).toBeLessThan(under.cache.bytesFull);
    expect([tf.memory().numTensors, pageBytes()]).toEqual([tensors, pages]);
    expect(readdirSync(tmpdir()).length).toBe(files);
  });

  it("let others in between groups of layers, and are given up there", async () => {
    const policies = [{ name: "xkv", params: { layers: 1 } }];
    const [tensors, pages] = [tf.memory().numTensors, pageBytes()];
    const stop = new Error("given up");
    for (const last of [0, 1, 2, 3]) {
      let turns = 0;
      const turn = async () => {
        if (turns === last) throw stop;
        turns++;
      };
      const ends = generate(model, { tokens: TOKENS, policies, maxTokens: 1, turn });
      if (last < model.config.n_layers) await expect(ends).rejects.toBe(stop);
      else await ends;
      expect(turns).toBe(last);
      expect([tf.memory().numTensors, pageBytes()]).toEqual([tensors, pages]);
    }
  });

  it.each(LOSSY)("of a batch are read as each alone: %s", async (_, policies) => {
    const prompts = [TOKENS, TOKENS.slice(0, 150), [...TOKENS.slice(0, 150), 3, 4]];
    const all = { policies, stop: [] };
    const together = await generateBatch(model, {
      ...all,
      prompts: prompts.map((tokens, i) => ({ tokens, maxTokens: NEW - i })),
    });
    for (const [i, tokens] of prompts.entries()) {
      const alone = await generate(model, { ...all, tokens, maxTokens: NEW - i });
      expect(together[i]!.ids).toEqual(alone.ids);
      expect(together[i]!.cache).toEqual(alone.cache);
    }
  });

  it.each(LOSSLESS)("go on behind a prefix, which stays as it is: %s", async (_, policies) => {
    const prefix = await readPrefix(model, { tokens: TOKENS.slice(0, 200) });
    const plain = await run({ prefix, tokens: TOKENS.slice(200) });
    const under = await run({ prefix, tokens: TOKENS.slice(200), policies });
    under.steps.forEach((logits, i) => void expect(furthest(logits, plain.steps[i]!)).toBeLessThan(1e-3));
    expect((await run({ prefix, tokens: TOKENS.slice(200) })).steps).toEqual(plain.steps);
    prefix.dispose();
  });

  it.each(LOSSLESS)("leave streaming heads alone: %s", async (_, policies) => {
    const mask = maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 2, recent: 9 });
    for (const given of [
      policies,
      policies.map(({ name, params }) => ({ name, params: { ...params, layers: undefined } })),
    ]) {
      const plain = await run({ tokens: TOKENS, mask });
      const under = await run({ tokens: TOKENS, mask, policies: given });
      under.steps.forEach((logits, i) => void expect(furthest(logits, plain.steps[i]!)).toBeLessThan(1e-3));
      expect(under.cache.kept).toEqual(plain.cache.kept);
    }
  });

  it("follow a budget: xkv by its ranks", () => {
    const xkv = policyOf("xkv");
    expect(atBudget(xkv, {}, 0.5)).toEqual({ ratio: 0.6 });
    expect(atBudget(xkv, {}, 256)).toBeUndefined();
    expect(atBudget(policyOf("shadowkv"), {}, 256)).toEqual({ budget: 256 });
  });

  it("have the bytes of their numbers, and of the rows of one layer", async () => {
    const { n_layers, n_key_value_heads: heads, d_head } = model.config;
    const rows = Math.ceil(TOKENS.length / PAGE) * PAGE + 16 * n_layers; // restored, and new tokens'
    const channels = n_layers * heads * d_head;
    const [keys, values] = [Math.round(0.125 * channels), Math.round(1.5 * 0.125 * channels)];
    const { cache } = await run({ tokens: TOKENS, policies: LOSSY[0]![1] });
    const perRow = cache.bytesFull / (n_layers * heads * (2 * PAGE + 64));
    expect(cache.bytes).toBe(4 * (keys + values) * (TOKENS.length + channels) + heads * rows * perRow);
    expect(cache.offloaded).toBeUndefined();
    const shadow = (await run({ tokens: TOKENS, policies: LOSSY[1]![1] })).cache;
    expect(shadow.offloaded).toBe(4 * TOKENS.length * channels);
  });
});

describe("refusals", () => {
  it("of a prefix that is to be left", async () => {
    const refused = generate(model, { tokens: TOKENS, policies: [{ name: "xkv" }], keep: true });
    await expect(refused).rejects.toThrow("there is nothing to keep that another run could read");
  });

  it.each([
    [[{ name: "snapkv" }, { name: "xkv" }], "snapkv and xkv can't go together"],
    [[{ name: "quest" }, { name: "shadowkv" }], "quest and shadowkv can't go together"],
    [[{ name: "shadowkv" }, { name: "xkv" }], "each chooses the form"],
    [[{ name: "xkv", params: { ratio: 0.5, rank: 8 } }], "xkv has both a ratio, 0.5, and a rank, 8"],
    [[{ name: "shadowkv", params: { budget: 4 } }], "a budget of 4 tokens is below a chunk of 8"],
  ])("of %j", async (requests, message) => {
    await expect(choosePolicies(requests)).rejects.toThrow(message);
  });
});
