import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maskFromKvHeads } from "../../../../../backend/common/heads/mask.ts";
import { headModel } from "../../../../../backend/common/heads/model.ts";
import {
  type GenerateOptions,
  generate,
  generateBatch,
  readPrefix,
} from "../../../../../backend/inference/generate.ts";
import type { Generation } from "../../../../../backend/inference/generation.ts";
import { pageBytes } from "../../../../../backend/kernels/pages.ts";
import { rowsAllocated } from "../../../../../backend/models/cache/page-rows.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";

const { ready } = await kernelsHere();
const NEW = 5;
const TOKENS = randomTokens(1, 300, 96, 5)[0]!;
const QUESTION = randomTokens(1, 40, 96, 6)[0]!;
let model: Model;

beforeAll(async () => {
  model = randomModel(smallConfig({ d_head: 16, rotary_dim: 16, attn_scale: 0.25 })); // widths that pages do not fill up
  await generate(model, { tokens: [1] }); // makes the tables of rotations, which the model keeps
});
afterAll(() => model.dispose());

type Run = Generation & { steps: Float32Array[] };
async function run(options: GenerateOptions): Promise<Run> {
  const steps: Float32Array[] = [];
  const onStep: GenerateOptions["onStep"] = ({ logits }) => void steps.push(logits!.dataSync().slice() as Float32Array);
  return { ...(await generate(model, { tokens: TOKENS, stop: [], maxTokens: NEW, onStep, ...options })), steps };
}
const think = (params: object) => ({ name: "think", params: { window: 6, ...params } });

/** Insists that two runs have the same logits to float tolerance. */
function expectSame(one: Run, other: Run): void {
  expect(one.ids).toEqual(other.ids);
  one.steps.forEach((logits, i) => {
    logits.forEach((x, j) => {
      expect(Math.abs(x - other.steps[i]![j]!)).toBeLessThan(5e-4);
    });
  });
}

/** Runs with other policies, or none. */
const BESIDE: [string, GenerateOptions][] = [
  ["alone", {}],
  ["in half precision", ready ? { cache: "f16" } : {}],
  ["behind snapkv", { policies: [{ name: "snapkv", params: { ratio: 0.4, window: 6 } }] }],
  ["under tova, one token going for each that comes", { policies: [{ name: "tova", params: { ratio: 0.1, when: "decode" } }] }],
  ["read from by quest", { policies: [{ name: "quest", params: { ratio: 0.5, dense: 0, page: 4 } }] }],
]; // biome-ignore format: a table

describe("key channels that are dropped", () => {
  it.each(BESIDE)("are read as zeros are, %s", async (_, { policies = [], ...options }) => {
    for (const ratio of [0.2, 0.5, 0.9]) {
      const [dropped, zeroed] = [
        await run({ ...options, policies: [...policies, think({ ratio })] }),
        await run({ ...options, policies: [...policies, think({ ratio, zeroed: true })] }),
      ];
      expectSame(dropped, zeroed);
      expect(dropped.cache.channels).toEqual(zeroed.cache.channels);
      expect(dropped.cache.kept).toEqual(zeroed.cache.kept);
      expect(dropped.cache.bytes).toBeLessThan(zeroed.cache.bytes);
    }
  });

  it("are freed: of the keys of the prompt, in full heads, their share", async () => {
    const { d_head, n_layers, n_key_value_heads } = model.config;
    const heads = n_layers * n_key_value_heads;
    for (const ratio of [0.2, 0.5]) {
      const { cache } = await run({ policies: [think({ ratio })] });
      const left = d_head - Math.trunc(d_head * ratio);
      expect(cache.channels!.flat().every((channels) => channels.length === left)).toBe(true);
      const prompt = rowsAllocated(TOKENS.length) * 4 * (left + d_head);
      expect(cache.bytes).toBe(heads * (prompt + rowsAllocated(NEW - 1) * 4 * 2 * d_head));
    }
  });

  it("are none of heads that stream", async () => {
    const mask = maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 2, recent: 9 });
    for (const prefill of ["masked", "dense"] as const) {
      const streaming = await run({ mask, prefill });
      const { cache } = await run({ mask, prefill, policies: [think({ ratio: 0.5 })] });
      const left = cache.channels!.flat().map(({ length }) => length);
      expect(left).toEqual([16, 16, 8, 16, 16, 16]);
      // Of the head that holds everything half of the prompt's keys goes; its new tokens begin a page.
      const fresh = rowsAllocated(TOKENS.length + NEW - 1) - rowsAllocated(TOKENS.length) - rowsAllocated(NEW - 1);
      const freed = rowsAllocated(TOKENS.length) * 4 * 8 + fresh * 4 * 2 * 16;
      expect(cache.bytes).toBe(streaming.cache.bytes - freed);
    }
  });

  it("are none where all stay: full attention, to the bit", async () => {
    const [plain, under] = [await run({}), await run({ policies: [think({ ratio: 0 })] })];
    expect(under.steps).toEqual(plain.steps);
    expect(under.cache.bytes).toBe(plain.cache.bytes);
    expect(under.cache.channels!.flat().every(({ length }) => length === model.config.d_head)).toBe(true);
  });

  it("leave no tensor and no page behind", async () => {
    const before = [tf.memory().numTensors, pageBytes()];
    await run({ policies: [think({ ratio: 0.5 })] });
    expect([tf.memory().numTensors, pageBytes()]).toEqual(before);
  });

  it("stay so in a prefix, its forks and what a truncation leaves of them", async () => {
    const [dropped, zeroed] = await Promise.all(
      [false, true].map((zeroed) => readPrefix(model, { tokens: TOKENS, policies: [think({ ratio: 0.5, zeroed })] })),
    );
    const both = (options: GenerateOptions) =>
      Promise.all([dropped, zeroed].map((prefix) => run({ prefix, tokens: QUESTION, ...options })));
    const [one, other] = await both({});
    expectSame(one!, other!);
    expect(one!.cache.channels).toEqual(other!.cache.channels);
    // More than once, and under policies that choose among what is held.
    for (const policies of [
      [think({ ratio: 0.7 })],
      [{ name: "streaming-llm", params: { ratio: 0.5, rerotate: true } }],
      [{ name: "knorm", params: { ratio: 0.5 } }],
    ]) {
      const [first, second] = await both({ policies });
      expectSame(first!, second!);
    }
    for (const tokens of [200, 3]) {
      const [a, b] = [dropped!, zeroed!].map(({ cache }) => {
        const fork = cache.fork();
        fork.truncate(tokens);
        const rows = [0, 1].map((head) => fork.read(1, 0, head));
        // + 0: a zero has no sign
        const numbers = rows.map(({ keys, values, positions }) => [
          ...tf.tidy(() => [tf.add(keys, 0).arraySync(), values.arraySync()]),
          positions,
        ]);
        for (const { keys, values } of rows) tf.dispose([keys, values]);
        fork.dispose();
        return numbers;
      });
      expect(a).toEqual(b);
    }
    dropped!.dispose();
    zeroed!.dispose();
  });

  it("are each prompt's own in a batch", async () => {
    const prompts = [TOKENS, TOKENS.slice(0, 131), TOKENS.slice(0, 7)].map((tokens) => ({ tokens }));
    const policies = [think({ ratio: 0.5 })];
    const together = await generateBatch(model, { prompts, policies, maxTokens: NEW, stop: [] });
    for (const [i, { tokens }] of prompts.entries()) {
      const alone = await run({ tokens, policies });
      expect(together[i]!.ids).toEqual(alone.ids);
      expect(together[i]!.cache.channels).toEqual(alone.cache.channels);
      expect(together[i]!.cache.bytes).toBe(alone.cache.bytes);
    }
  });
});
