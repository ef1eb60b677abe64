import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maskFromKvHeads } from "../../../../backend/common/heads/mask.ts";
import { headModel } from "../../../../backend/common/heads/model.ts";
import { writeMask } from "../../../../backend/heads/files.ts";
import { saveCache } from "../../../../backend/inference/cache-file.ts";
import { type GenerateOptions, generate, generateBatch, readPrefix } from "../../../../backend/inference/generate.ts";
import { choosePolicies, type PolicyRequest } from "../../../../backend/inference/policies/choice.ts";
import { policies as registry } from "../../../../backend/inference/policies/index.ts";
import { pageBytes } from "../../../../backend/kernels/pages.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { errorOf, refused } from "../../../helpers/errors.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

const { ready } = await kernelsHere();
const folder = mkdtempSync(join(tmpdir(), "headscope-forms-"));
const mask = join(folder, "mask.json");
const TOKENS = randomTokens(1, 500, 96, 7)[0]!;
/** Policies for the form that put pages into codes. */
const FORMS = registry.list().flatMap((policy) => (policy.chooses === "form" && policy.form ? [policy.name] : []));
let model: Model;

beforeAll(async () => {
  model = randomModel(smallConfig({ d_head: 16, rotary_dim: 16, attn_scale: 0.25 }));
  await writeMask(mask, maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 2, recent: 30 }));
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

/** A generation, with the logits of each step. */
async function run(policies: PolicyRequest[], options: Partial<GenerateOptions> = {}) {
  const steps: Float32Array[] = [];
  const onStep: GenerateOptions["onStep"] = ({ logits }) => void steps.push(logits!.dataSync().slice() as Float32Array);
  const given = { tokens: TOKENS, stop: [], maxTokens: 6, policies, onStep, ...options };
  return { ...(await generate(model, given)), steps };
}

const codes = (name: string, params: object = {}): PolicyRequest => ({ name, params: { recent: 20, ...params } });

describe.skipIf(!ready)("a policy that puts pages into codes", () => {
  it.each(FORMS)("%s reads the prompt in full, and takes less memory from its end on", async (name) => {
    const before = pageBytes();
    const [plain, under] = [await run([]), await run([codes(name)])];
    expect(under.steps[0]).toEqual(plain.steps[0]);
    expect(under.steps[1]).not.toEqual(plain.steps[1]);
    expect(under.cache.bytes).toBeLessThan(0.75 * plain.cache.bytes);
    expect(under.cache.bytesFull).toBe(plain.cache.bytes);
    expect(under.cache.kept).toBeUndefined();
    expect(pageBytes()).toBe(before);
  });

  it.each(FORMS)("%s with all tokens recent is full attention, to the bit", async (name) => {
    const [plain, under] = [await run([]), await run([codes(name, { recent: 506 })])];
    expect(under.steps).toEqual(plain.steps);
    expect(under.cache).toEqual(plain.cache);
  });

  it.each(FORMS)("%s holds a prefix as it holds the prompt, and a plain prefix as it goes on from it", async (name) => {
    const whole = await generate(model, { tokens: TOKENS, stop: [], maxTokens: 6, policies: [codes(name)] });
    for (const read of [[codes(name)], []]) {
      const prefix = await readPrefix(model, { tokens: TOKENS, policies: read });
      const going = read.length > 0 ? [] : [codes(name)];
      const on = await generate(model, { prefix, stop: [], maxTokens: 6, policies: going });
      expect([on.ids, on.cache]).toEqual([whole.ids, whole.cache]);
      prefix.dispose();
    }
  });

  it.each(FORMS)("%s gives each prompt of several the tokens that it gets alone", async (name) => {
    const prompts = [TOKENS.slice(0, 300), TOKENS.slice(0, 420), TOKENS.slice(50, 450)].map((tokens) => ({ tokens }));
    const together = await generateBatch(model, { prompts, policies: [codes(name)], stop: [], maxTokens: 5 });
    for (const [i, { tokens }] of prompts.entries()) {
      const alone = await generate(model, { tokens, policies: [codes(name)], stop: [], maxTokens: 5 });
      expect(together[i]!.ids).toEqual(alone.ids);
      expect(together[i]!.cache).toEqual(alone.cache);
    }
  });

  it.each(FORMS)("%s comes after the tokens and heads that stay are chosen", async (name) => {
    const tokens: PolicyRequest = { name: "snapkv", params: { ratio: 0.4 } };
    const heads: PolicyRequest = { name: "duo-attention", params: { mask, prefill: "dense" } };
    for (const others of [[tokens], [heads], [heads, tokens]]) {
      const [without, under] = [await run(others), await run([codes(name), ...others])];
      expect(under.cache.kept?.map((layer) => layer.map(({ length }) => length))).toEqual(
        without.cache.kept?.map((layer) => layer.map(({ length }) => length)),
      );
      expect(under.steps[0]).toEqual(without.steps[0]);
      expect(under.cache.bytes).toBeLessThan(without.cache.bytes);
      expect(under.policies?.map((each) => each.name)).toContain(name);
    }
  });

  it("is refused where tokens go one by one, nothing is cached, in fewer bits already, and in a file", async () => {
    const decode = [codes("kivi"), { name: "tova", params: { when: "decode" } }];
    expect(await errorOf(choosePolicies(decode))).toEqual(refused("usage", { field: "policies" }));
    expect(await errorOf(choosePolicies([codes("kivi"), codes("kvquant")]))).toEqual(
      refused("usage", { field: "policies" }),
    );
    expect(await errorOf(choosePolicies([codes("kivi", { bits: 5 })]))).toEqual(refused("usage", { field: "bits" }));
    const options = { tokens: TOKENS, policies: [codes("kivi")] };
    expect(await errorOf(generate(model, { ...options, useCache: false }))).toEqual(refused("usage"));
    expect(await errorOf(generate(model, { ...options, cache: "q8" }))).toEqual(refused("usage"));
    const prefix = await readPrefix(model, options);
    expect(await errorOf(saveCache(join(folder, "cache.safetensors"), prefix))).toEqual(refused("unsupported"));
    expect(await errorOf(generate(model, { prefix, policies: [codes("minifloat")] }))).toEqual(refused("usage"));
    prefix.dispose();
  });
});
