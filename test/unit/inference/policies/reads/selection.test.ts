import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maskFromKvHeads } from "../../../../../backend/common/heads/mask.ts";
import { headModel } from "../../../../../backend/common/heads/model.ts";
import {
  type GenerateOptions,
  generate,
  generateBatch,
  readPrefix,
} from "../../../../../backend/inference/generate.ts";
import { choosePolicies } from "../../../../../backend/inference/policies/choice.ts";
import { policies } from "../../../../../backend/inference/policies/index.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";

await kernelsHere();
const NEW = 5;
const TOKENS = randomTokens(1, 90, 96, 5)[0]!;
const SMALL: Record<string, unknown> = { page: 4, block: 4, sinks: 2, recent: 4, dense: 0, stride: 3, clusters: 0.2 };
let model: Model;

beforeAll(async () => {
  model = randomModel({ ...smallConfig(), n_ctx: 1200 });
  await generate(model, { tokens: [1] }); // makes the tables of rotations, which the model keeps
});
afterAll(() => model.dispose());

const NAMES = policies.list().flatMap(({ name, chooses }) => (chooses === "reads" ? [name] : []));

/** A policy with parameters that suit short prompts. */
function small(
  name: string,
  given: Record<string, unknown> = { ratio: 0.6 },
): NonNullable<GenerateOptions["policies"]> {
  const known = policies.flags(name).map((flag) => flag.name);
  const own = Object.entries(SMALL).filter(([key]) => known.includes(key));
  return [{ name, params: { ...Object.fromEntries(own), ...given } }];
}

async function steps(options: GenerateOptions): Promise<Float32Array[]> {
  const seen: Float32Array[] = [];
  const onStep: GenerateOptions["onStep"] = ({ logits }) => void seen.push(logits!.dataSync().slice() as Float32Array);
  await generate(model, { stop: [], maxTokens: NEW, ...options, onStep });
  return seen;
}

const furthest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

describe("choices of what is read", () => {
  it.each(NAMES)("%s chooses for each of several prompts what it chooses for it alone", async (name) => {
    const prompts = [TOKENS, TOKENS.slice(0, 60), [...TOKENS.slice(0, 60), 3, 4]];
    const all = { policies: small(name), stop: [] };
    const before = tf.memory().numTensors;
    const together = await generateBatch(model, {
      ...all,
      prompts: prompts.map((tokens, i) => ({ tokens, maxTokens: NEW - i })),
    });
    for (const [i, tokens] of prompts.entries()) {
      const alone = await generate(model, { ...all, tokens, maxTokens: NEW - i });
      expect(together[i]!.ids).toEqual(alone.ids);
      expect(together[i]!.cache.read).toBeCloseTo(alone.cache.read!, 6);
    }
    expect(tf.memory().numTensors).toBe(before);
  });

  it.each(["quest", "recycled-attention"])("%s goes on behind a prefix as it does behind the prompt", async (name) => {
    const prefix = await readPrefix(model, { tokens: TOKENS.slice(0, 70) });
    const own = await steps({ prefix, tokens: TOKENS.slice(70), policies: small(name) });
    const whole = await steps({ tokens: TOKENS, policies: small(name) });
    own.forEach((logits, i) => void expect(furthest(logits, whole[i]!)).toBeLessThan(5e-4));
    prefix.dispose();
  });

  it.each(["token-select", "actqkv"])("%s chooses what a question behind a prefix reads too", async (name) => {
    const prefix = await readPrefix(model, { tokens: TOKENS.slice(0, 70) });
    const plain = await steps({ prefix, tokens: TOKENS.slice(70), maxTokens: 1 });
    const under = await steps({ prefix, tokens: TOKENS.slice(70), maxTokens: 1, policies: small(name) });
    const all = await steps({ prefix, tokens: TOKENS.slice(70), maxTokens: 1, policies: small(name, { budget: 85 }) });
    expect(furthest(under[0]!, plain[0]!)).toBeGreaterThan(1e-3);
    expect(furthest(all[0]!, plain[0]!)).toBeLessThan(5e-4);
    prefix.dispose();
  });

  it.each(NAMES)("%s reads a prompt of several parts as each says of itself", async (name) => {
    const tokens = randomTokens(1, 1100, 96, 3)[0]!;
    const plain = await steps({ tokens, maxTokens: 2 });
    const under = await steps({ tokens, maxTokens: 2, policies: small(name, { ratio: 0.9 }) });
    const chooses = policies.get(name) as { inPrompt?: string };
    if (chooses.inPrompt === "chooses") expect(furthest(under[0]!, plain[0]!)).toBeGreaterThan(1e-4);
    else expect(furthest(under[0]!, plain[0]!)).toBeLessThan(5e-4);
    expect(under[1]!.every(Number.isFinite)).toBe(true);
  });

  it.each(NAMES)("%s leaves streaming heads alone", async (name) => {
    const mask = maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 2, recent: 9 });
    const { cache } = await generate(model, { tokens: TOKENS, mask, policies: small(name), maxTokens: NEW, stop: [] });
    const heads = model.config.n_layers * model.config.n_key_value_heads;
    expect(cache.read).toBeLessThan(1);
    expect(cache.read).toBeGreaterThan((heads - 1) / heads);
    expect(cache.kept!.flat().filter((positions) => positions.length > 11)).toHaveLength(1);
  });

  it.each(NAMES)("%s chooses among the tokens that another policy has left", async (name) => {
    const policies = [{ name: "tova", params: { ratio: 0.5 } }, ...small(name)];
    const { cache } = await generate(model, { tokens: TOKENS, policies, maxTokens: NEW, stop: [] });
    expect(cache.kept!.flat().every((positions) => positions.length === 45 + NEW - 1)).toBe(true);
    expect(cache.read).toBeLessThan(0.9);
  });
});

describe("refusals", () => {
  const quest = { name: "quest" };

  it.each([
    [[{ name: "tova", params: { when: "decode" } }, quest], "lets one go at each step"],
    [[{ name: "adakv" }, quest], "leaves more in some KV heads than in others"],
    [[quest, { name: "token-select" }], "each chooses the reads"],
    [[{ name: "quest", params: { ratio: 0.5, budget: 64 } }], "both a ratio, 0.5, and a budget, 64"],
    [[{ name: "quest", params: { budget: 40 } }], "a budget of 40 tokens is below the 48 that quest reads anyway"],
    [[{ name: "token-select", params: { budget: 80 } }], "below the 81 that token-select reads anyway"],
  ])("of %j", async (requests, message) => {
    await expect(choosePolicies(requests)).rejects.toThrow(message);
  });

  it("of a run without a cache", async () => {
    const refused = generate(model, { tokens: TOKENS, policies: [quest], useCache: false });
    await expect(refused).rejects.toThrow("quest has nothing to choose where nothing is cached");
  });
});
