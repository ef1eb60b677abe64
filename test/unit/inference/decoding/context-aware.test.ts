import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maskFromKvHeads } from "../../../../backend/common/heads/mask.ts";
import { headModel } from "../../../../backend/common/heads/model.ts";
import { likeliest } from "../../../../backend/inference/decoding/sampling.ts";
import { generate, generateBatch } from "../../../../backend/inference/generate.ts";
import type { Generation } from "../../../../backend/inference/generation.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { failure } from "../../../helpers/errors.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

await kernelsHere();
let model: Model;
const CONTEXT = randomTokens(1, 30, 96, 1)[0]!;
const QUESTION = randomTokens(1, 8, 96, 2)[0]!;
const PROMPT = [...CONTEXT, ...QUESTION];

beforeAll(async () => {
  model = randomModel(smallConfig());
  await generate(model, { tokens: [1] }); // makes the tables of rotations, which the model keeps
});
afterAll(() => model.dispose());

/** Logits of what follows. */
async function logitsOf(tokens: readonly number[]): Promise<Float32Array> {
  return (await generate(model, { tokens, maxTokens: 1 })).logits;
}

/** What does not depend on time. */
function timeless({ prefillMs: _, decodeMsPerToken: __, ...rest }: Generation) {
  return rest;
}

describe("context-aware decoding", () => {
  it.each([0.5, 2])("takes the likeliest of (1 + α) · with − α · without, token by token: α = %f", async (alpha) => {
    const before = tf.memory().numTensors;
    const result = await generate(model, {
      tokens: PROMPT,
      maxTokens: 6,
      contextAware: { without: QUESTION, alpha },
    });
    expect(tf.memory().numTensors).toBe(before);
    const ids: number[] = [];
    while (ids.length < 6) {
      const [behind, without] = [await logitsOf([...PROMPT, ...ids]), await logitsOf([...QUESTION, ...ids])];
      const logits = behind.map((logit, i) => (1 + alpha) * logit - alpha * without[i]!);
      if (ids.length === 0)
        result.logits.forEach((logit, i) => {
          expect(Math.abs(logit - logits[i]!)).toBeLessThan(1e-3);
        });
      ids.push(likeliest(logits));
    }
    expect(result.ids).toEqual(ids);
    expect(result.contextAware).toEqual({ alpha, promptTokens: QUESTION.length });
    expect(result.promptTokens).toBe(PROMPT.length);
  });

  it("chooses what the prompt alone chooses where α is 0, or nothing is missing from the other", async () => {
    const plain = await generate(model, { tokens: PROMPT, maxTokens: 12 });
    for (const contextAware of [
      { without: QUESTION, alpha: 0 },
      { without: PROMPT, alpha: 1 },
    ])
      expect((await generate(model, { tokens: PROMPT, maxTokens: 12, contextAware })).ids).toEqual(plain.ids);
  });

  it("differs from the prompt alone, and holds both in the cache", async () => {
    const plain = await generate(model, { tokens: PROMPT, maxTokens: 12 });
    const aware = await generate(model, {
      tokens: PROMPT,
      maxTokens: 12,
      contextAware: { without: QUESTION, alpha: 3 },
    });
    expect(aware.ids).not.toEqual(plain.ids);
    expect(aware.cache.bytes).toBeGreaterThan(plain.cache.bytes);
  });

  it("is the same without a cache", async () => {
    const run = { tokens: PROMPT, maxTokens: 5, contextAware: { without: QUESTION } };
    const [cached, plain] = [await generate(model, run), await generate(model, { ...run, useCache: false })];
    expect(plain.ids).toEqual(cached.ids);
  });

  it("gives each of several prompts what it gets alone, beside prompts without it", async () => {
    const mask = maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 2, recent: 9 });
    const prompts = [
      { tokens: PROMPT, maxTokens: 4, contextAware: { without: QUESTION, alpha: 1 } },
      { tokens: QUESTION, maxTokens: 11 },
      { tokens: [...CONTEXT, 3, 4], temperature: 1, seed: 5, contextAware: { without: [3, 4] } },
    ];
    for (const run of [{}, { mask }]) {
      const together = await generateBatch(model, { ...run, prompts, maxTokens: 8 });
      for (const [i, own] of prompts.entries()) {
        const { logits: _, ...alone } = timeless(await generate(model, { maxTokens: 8, ...run, ...own }));
        expect(timeless(together[i]!)).toMatchObject(alone);
      }
    }
  });

  it.each([
    ["a negative weight", () => ({ contextAware: { without: [1], alpha: -0.1 } }), "usage"],
    ["no prompt without the context", () => ({ contextAware: { alpha: 1 } as never }), "usage"],
    ["an empty prompt without the context", () => ({ contextAware: { without: [] } }), "input"],
    ["a draft", () => ({ speculative: { mask: {} as never } }), "usage"],
    ["a look at each step", () => ({ onStep: () => {} }), "usage"],
    ["one beyond the context", () => ({ contextAware: { without: Array(1190).fill(1) }, maxTokens: 20 }), "input"],
  ])("is refused with %s", async (_, options, kind) => {
    const before = tf.memory().numTensors;
    const run = { tokens: [1, 2, 3], contextAware: { without: [2, 3] }, ...options() };
    expect((await failure(() => generate(model, run))).kind).toBe(kind);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("is refused behind a prefix", async () => {
    const { readPrefix } = await import("../../../../backend/inference/generate.ts");
    const prefix = await readPrefix(model, { tokens: CONTEXT });
    const run = { prefix, tokens: QUESTION, contextAware: { without: QUESTION } };
    expect((await failure(() => generate(model, run))).kind).toBe("usage");
    prefix.dispose();
  });
});
