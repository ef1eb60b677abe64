import { beforeAll, describe, expect, it } from "vitest";
import type { GenerateBatchResult, GenerateResult } from "../../../backend/common/api/generation.ts";
import { maskFromKvHeads } from "../../../backend/common/heads/mask.ts";
import { headModel } from "../../../backend/common/heads/model.ts";
import { runWithHooks } from "../../../backend/hooks/run.ts";
import { generate } from "../../../backend/inference/generate.ts";
import { TextStream } from "../../../backend/inference/text-stream.ts";
import { hasKernels } from "../../../backend/kernels/kernels.ts";
import { loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";
import type { Tokenizer } from "../../../backend/models/tokenizers/tokenizer.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { randomTokens, smallConfig } from "../../helpers/models.ts";
import { apart, handled, ownDataFolder, saveRandomRun } from "../../helpers/processes/workers.ts";
import { havePulled, loadSmollm2 } from "../../helpers/smollm2.ts";

const MODEL = "run:grouped-1@0";
const CONFIG = smallConfig();
const ids = randomTokens(1, 9, CONFIG.d_vocab)[0]!;
let model: Model;

ownDataFolder();
beforeAll(async () => {
  await saveRandomRun("grouped-1", 0, CONFIG);
  model = await loadModel(MODEL);
});

/** Greedy continuation by whole runs without a cache, heads zeroed by an eager hook; and each token's probability. */
function byWholeRuns(count: number, zeroed: Readonly<Record<number, number[]>>): { ids: number[]; probabilities: number[] } {
  const all = [...ids];
  const probabilities: number[] = [];
  for (let i = 0; i < count; i++) {
    const logits = runWithHooks(model, all, {
      logitsAt: "last",
      hooks: Object.entries(zeroed).map(([layer, heads]) => [
        `blocks.${layer}.attn.hook_z`,
        (z) => tf.mul(z, tf.tensor([0, 1, 2, 3, 4, 5].map((h) => (heads.includes(h) ? 0 : 1)), [1, 1, 6, 1])),
      ]),
    })!;
    const values = [...logits.dataSync()];
    logits.dispose();
    const total = values.reduce((sum, x) => sum + Math.exp(x), 0);
    const best = values.indexOf(Math.max(...values));
    probabilities.push(Math.exp(values[best]!) / total);
    all.push(best);
  }
  return { ids: all.slice(ids.length), probabilities };
} // biome-ignore format: a table

describe("a generation", () => {
  it.each([
    ["all heads", undefined, {}],
    ["heads ablated in the prompt and after", ["0.1", "2.4", "2.0"], { 0: [1], 2: [4, 0] }],
  ])("with %s tells of the tokens that whole runs choose", async (_, heads, zeroed) => {
    const request = { model: MODEL, tokens: ids, maxTokens: 6, ...(heads ? { ablate: heads } : {}) };
    const { value, events } = await handled<GenerateResult>("generate", request);
    const expected = byWholeRuns(6, zeroed);
    expect(value.ids).toEqual(expected.ids);
    expect(value).toMatchObject({ text: expected.ids.join(" "), tokens: expected.ids.map(String), promptTokens: 9 });
    const told = events as { event: string; id: number; text: string; probability: number }[];
    expect(told.map(({ event, id }) => [event, id])).toEqual(expected.ids.map((id) => ["token", id]));
    expect(told.map(({ text }) => text).join("")).toBe(value.text);
    expect(apart(told.map(({ probability }) => probability), expected.probabilities)).toBeLessThan(1e-5);
  }); // biome-ignore format: long lines

  it("samples, drafts and weighs contexts as the library does", async () => {
    const mask = maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 1, recent: 3 });
    const ways = [
      { temperature: 2, topK: 9, topP: 0.9, minP: 0.01, repetitionPenalty: 1.5, seed: 4 },
      { speculative: { mask, tokens: 3 } },
      { contextAware: { without: ids.slice(4), alpha: 2 } },
    ];
    for (const way of ways) {
      const run = { ...way, tokens: ids, maxTokens: 8 };
      const { ids: expected, speculative, contextAware } = await generate(model, run);
      const one = await handled<GenerateResult>("generate", { model: MODEL, ...run });
      expect([one.value.ids, one.value.speculative, one.value.contextAware]).toEqual([expected, speculative, contextAware]);
      const { speculative: shared, ...own } = { speculative: undefined, ...run };
      const request = { model: MODEL, prompts: [own], ...(shared ? { speculative: shared } : {}) };
      const several = await handled<GenerateBatchResult>("generate-batch", request);
      expect(several.value.rows[0]!.ids).toEqual(expected);
    }
  }); // biome-ignore format: long lines

  it("with a mask takes the bytes of its windows, in either prefill", async () => {
    const mask = maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 1, recent: 3 });
    for (const prefill of ["masked", "dense"] as const) {
      const request = { model: MODEL, tokens: ids, maxTokens: 6, mask, prefill };
      const { value } = await handled<GenerateResult>("generate", request);
      const direct = await generate(model, { tokens: ids, maxTokens: 6, mask, prefill });
      expect(value.ids).toEqual(direct.ids);
      // Of the prompt's nine tokens the first is a sink; the last three that stay are new ones by then.
      const keptByPosition = [1, ...new Array<number>(8).fill(0.167)];
      expect(value.cache).toEqual({ bytes: direct.cache.bytes, bytesFull: direct.cache.bytesFull, keptByPosition });
      expect(value.promptTexts).toEqual(ids.map(String));
      // One full head has room for 16 tokens, of which it has seen 14; five hold 4. The kernels fill heads of 8 numbers up to 16.
      expect(value.cache.bytes).toBe((16 + 5 * 4) * 2 * (hasKernels() ? 16 : 8) * 4);
    }
  });

  it("stops when it is cancelled, and leaves no tensor behind", async () => {
    const request = { model: MODEL, tokens: ids, maxTokens: 30, ablate: ["1.1"] };
    await handled("generate", request);
    const before = tf.memory().numTensors;
    const stop = new AbortController();
    let tokens = 0;
    const onEvent = () => {
      if (++tokens === 3) stop.abort(new Error("enough"));
    };
    await expect(handled("generate", request, { signal: stop.signal, onEvent })).rejects.toThrow("enough");
    expect(tokens).toBe(3);
    expect(tf.memory().numTensors).toBe(before);
  });

  it.each([
    [{ tokens: [1], chat: true }, /a chat needs a text/],
    [{ text: "a", chat: true }, /has no tokenizer/],
    [{ tokens: [1], ablate: ["9.9"] }, /there is no head 9.9/],
    [{ tokens: [1], maxTokens: 1200 }, /exceed the context of 1200/],
  ])("refuses %j", async (input, line) => {
    await expect(handled("generate", { model: MODEL, ...input })).rejects.toThrow(line);
  });
});

describe("text that grows", () => {
  it("shows whole characters only, each once", () => {
    const bytes = new TextEncoder().encode("aé€🐦b");
    const tokenizer = {
      decode: (ids: readonly number[]) => new TextDecoder().decode(Uint8Array.from(ids)),
    } as Tokenizer;
    const stream = new TextStream(tokenizer);
    expect([...bytes].map((byte) => stream.push(byte))).toEqual(["a", "", "é", "", "", "€", "", "", "", "🐦", "b"]);
  });

  it.skipIf(!havePulled)("is the decoded text, also of characters that take several tokens", async () => {
    const real = await loadSmollm2({ weights: "q8" });
    const text = "naïve 🦜 日本語 — ok";
    const tokens = real.tokenizer!.encode(text, { prependBos: false });
    const stream = new TextStream(real.tokenizer);
    const parts = tokens.map((id) => stream.push(id));
    expect(parts.join("")).toBe(text);
    expect(parts).toContain("");
    real.dispose();
  });
});
