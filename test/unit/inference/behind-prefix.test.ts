import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type GenerateOptions, generate, generateBatch, readPrefix } from "../../../backend/inference/generate.ts";
import { pageBytes } from "../../../backend/kernels/pages.ts";
import type { Model } from "../../../backend/models/model.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { errorOf, refused } from "../../helpers/errors.ts";
import { kernelsHere } from "../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";

await kernelsHere();
const TOKENS = randomTokens(1, 48, 96, 5)[0]!;
const [CONTEXT, QUESTION] = [TOKENS.slice(0, 40), TOKENS.slice(40)];
let model: Model;
beforeAll(async () => {
  model = randomModel(smallConfig());
  await generate(model, { tokens: [1] });
});
afterAll(() => model.dispose());

const run = (options: GenerateOptions) => generate(model, { maxTokens: 5, stop: [], ...options });

describe("a policy for tokens behind a prefix", () => {
  it.each([
    ["snapkv", { ratio: 0.5, window: 6, kernel: 3 }],
    ["tova", { budget: 20 }],
    ["tova", { budget: 20, when: "decode" }],
    ["streaming-llm", { ratio: 0.5, rerotate: true }],
    ["keydiff", { ratio: 0.5, when: "decode" }],
    ["adakv", { ratio: 0.5, base: "tova" }],
    ["pyramidkv", { ratio: 0.5, window: 6, kernel: 3, beta: 3 }],
  ])("%s chooses what it chooses of the prompt read in one, and leaves the prefix whole", async (name, params) => {
    const before = [tf.memory().numTensors, pageBytes()];
    const policies = [{ name, params }];
    const whole = await run({ tokens: TOKENS, policies });
    const prefix = await readPrefix(model, { tokens: CONTEXT });
    const behind = await run({ prefix, tokens: QUESTION, policies });
    expect(behind.ids).toEqual(whole.ids);
    expect(behind.cache.kept).toEqual(whole.cache.kept);
    expect(prefix.cache.positions(0, 0, 0)).toEqual([...CONTEXT.keys()]);
    // A second question is chosen for by itself.
    const other = await run({ prefix, tokens: QUESTION.toReversed(), policies });
    expect(other.ids).toEqual((await run({ tokens: [...CONTEXT, ...QUESTION.toReversed()], policies })).ids);
    prefix.dispose();
    expect([tf.memory().numTensors, pageBytes()]).toEqual(before);
  });

  it.each([
    ["token-select", { budget: 12, sinks: 2, recent: 4 }],
    ["actqkv", { ratio: 0.6, block: 4 }],
    ["squeezed-attention", { ratio: 0.6, clusters: 0.3, window: 6 }],
  ])("%s, which learns of the prompt, goes on from a prefix as if it had read it itself", async (name, params) => {
    const before = [tf.memory().numTensors, pageBytes()];
    const policies = [{ name, params }];
    const whole = await run({ tokens: TOKENS, policies });
    expect(whole.cache.read).toBeLessThan(1);
    const prefix = await readPrefix(model, { tokens: TOKENS, policies });
    for (const repetition of [1, 2]) {
      const { ids, cache } = await run({ prefix, tokens: [], policies });
      expect({ repetition, ids, read: cache.read }).toEqual({ repetition, ids: whole.ids, read: whole.cache.read });
    }
    prefix.dispose();
    expect([tf.memory().numTensors, pageBytes()]).toEqual(before);
  });

  it("chooses no more behind a prefix that was read under it, unless it is asked", async () => {
    const policies = [{ name: "tova", params: { budget: 20 } }];
    const prefix = await readPrefix(model, { tokens: CONTEXT, policies });
    const kept = prefix.cache.positions(2, 0, 1);
    expect(kept.length).toBe(20);
    const on = await run({ prefix, tokens: QUESTION });
    expect(on.cache.kept![2]![1]).toEqual([...kept, ...Array.from({ length: 12 }, (_, i) => 40 + i)]);
    const again = await run({ prefix, tokens: QUESTION, policies });
    expect(again.cache.kept![2]![1]!.length).toBe(20 + 4);
    expect(again.cache.kept![2]![1]!.slice(0, -4).every((p) => p >= 40 || kept.includes(p))).toBe(true);
    prefix.dispose();
  });

  it("is refused, with the numbers, where it would look at queries of the prefix, or compare what can't be", async () => {
    const prefix = await readPrefix(model, { tokens: CONTEXT });
    const behind = (name: string, params: Record<string, unknown>, tokens = QUESTION) =>
      errorOf(generate(model, { prefix, tokens, policies: [{ name, params }] }));
    const field = ["policies", "prefix"];
    expect(await behind("snapkv", { budget: 20, window: 9 })).toEqual(refused("usage", { field, message: "last 9" }));
    expect(await behind("observed-attention", {})).toEqual(refused("usage", { field, message: "all tokens" }));
    expect(await behind("tova", {}, [])).toEqual(refused("usage", { field, message: "nothing behind" }));
    prefix.dispose();
    const uneven = [{ name: "adakv", params: { base: "knorm" } }];
    const ragged = await readPrefix(model, { tokens: CONTEXT, policies: uneven });
    expect(await errorOf(generate(model, { prefix: ragged, tokens: QUESTION, policies: [{ name: "tova" }] }))).toEqual(
      refused("usage", { field }),
    );
    ragged.dispose();
  });
});

describe("what is kept of a generation", () => {
  it("goes on as if it had never ended", async () => {
    const before = [tf.memory().numTensors, pageBytes()];
    const first = await run({ tokens: TOKENS, keep: true });
    const kept = first.prefix!;
    expect(kept.tokens).toEqual([...TOKENS, ...first.ids.slice(0, -1)]);
    const rest = [...TOKENS, ...first.ids].slice(kept.tokens.length);
    const turn = await run({ prefix: kept, tokens: [...rest, 3, 4, 5], keep: true });
    expect(turn.ids).toEqual((await run({ tokens: [...TOKENS, ...first.ids, 3, 4, 5] })).ids);
    const nothing = await run({ prefix: kept });
    expect(nothing.ids[0]).toBe(first.ids.at(-1));
    kept.dispose();
    turn.prefix!.dispose();
    expect([tf.memory().numTensors, pageBytes()]).toEqual(before);
  });

  it("ends behind the last token where a stop follows it", async () => {
    const { ids } = await run({ tokens: TOKENS });
    const { prefix, ...stopped } = await run({ tokens: TOKENS, stop: [ids[3]!], keep: true });
    expect(stopped.ids).toEqual(ids.slice(0, ids.indexOf(ids[3]!)));
    expect(prefix!.tokens).toEqual([...TOKENS, ...stopped.ids]);
    prefix!.dispose();
  });

  it.each([
    ["h2o", {}],
    ["keyformer", { seed: 3 }],
    ["tova", {}],
    ["streaming-llm", { sinks: 2, rerotate: true }],
  ])("goes on choosing with what %s knows", async (name, params) => {
    const before = [tf.memory().numTensors, pageBytes()];
    const policies = [{ name, params: { ...params, budget: 12, when: "decode" } }];
    const first = await run({ tokens: CONTEXT, policies, keep: true });
    const held = first.prefix!.cache.tokens(1, 0, 0);
    expect(held.length).toBe(12);
    const turn = await run({ prefix: first.prefix!, tokens: [first.ids.at(-1)!, ...QUESTION], policies, keep: true });
    const next = turn.prefix!.cache.tokens(1, 0, 0);
    expect(next.length).toBe(12);
    expect(next.every((p) => p >= first.prefix!.tokens.length || held.includes(p))).toBe(true);
    for (const each of [first, turn]) each.prefix!.dispose();
    expect([tf.memory().numTensors, pageBytes()]).toEqual(before);
  });

  it("is each prompt's own", async () => {
    const prompts = [{ tokens: TOKENS, maxTokens: 2 }, { tokens: CONTEXT }];
    const [short, long] = await generateBatch(model, { prompts, maxTokens: 5, stop: [], keep: true });
    expect(short!.prefix!.tokens).toEqual([...TOKENS, short!.ids[0]]);
    expect(long!.prefix!.tokens).toEqual([...CONTEXT, ...long!.ids.slice(0, 4)]);
    const on = await run({ prefix: long!.prefix!, tokens: [long!.ids[4]!, 7] });
    expect(on.ids).toEqual((await run({ tokens: [...CONTEXT, ...long!.ids, 7] })).ids);
    short!.prefix!.dispose();
    long!.prefix!.dispose();
  });

  it("is nothing without a cache", async () => {
    expect(await errorOf(run({ tokens: TOKENS, useCache: false, keep: true }))).toEqual(
      refused("usage", { field: "keep" }),
    );
  });
});

describe("a prompt that was cut for its question", () => {
  it.each([
    ["snapkv", { budget: 20, window: 6, kernel: 3 }],
    ["snapkv", { budget: 20, window: 6, kernel: 3, rerotate: true }],
    ["adakv", { budget: 20, base: "knorm" }],
  ])("is asked another without the tokens of the first (%s %o)", async (name, params) => {
    const prefix = await readPrefix(model, { tokens: TOKENS, policies: [{ name, params }] });
    const cache = prefix.cache.fork();
    cache.truncate(CONTEXT.length);
    expect(cache.seen).toEqual([CONTEXT.length]);
    for (const layer of [0, 1, 2])
      for (const head of [0, 1])
        expect(cache.tokens(layer, 0, head)).toEqual(
          prefix.cache.tokens(layer, 0, head).filter((token) => token < CONTEXT.length),
        );
    const { Prefix } = await import("../../../backend/inference/prefix.ts");
    const asked = new Prefix(model, { tokens: CONTEXT, cache, logits: prefix.logits, changes: prefix.changes });
    const { cache: end } = await run({ prefix: asked, tokens: [3, 4], maxTokens: 2 });
    const own = asked.cache.tokens(0, 0, 1);
    expect(end.kept![0]![1]).toEqual([...own, 40, 41, 42]);
    asked.dispose();
    prefix.dispose();
  });
});
