import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadCache, saveCache } from "../../../../../backend/inference/cache-file.ts";
import {
  type GenerateOptions,
  generate,
  generateBatch,
  readPrefix,
} from "../../../../../backend/inference/generate.ts";
import { policies } from "../../../../../backend/inference/policies/index.ts";
import { forward } from "../../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { errorOf, refused } from "../../../../helpers/errors.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";

const { ready } = await kernelsHere();
const TOKENS = randomTokens(1, 30, 96, 5)[0]!;
const CONTEXT = 40;
let model: Model;

// In one layer keys and values are those of the tokens alone, so that a cache numbered anew is that of what it holds.
beforeAll(() => {
  model = randomModel(smallConfig({ n_layers: 1, n_key_value_heads: 1, n_ctx: CONTEXT }));
});
afterAll(() => model.dispose());

/** Logits behind tokens at positions from 0 on. */
function behind(tokens: readonly number[]): Float32Array {
  const result = forward(model, { tokens: [tokens], logitsAt: "last" });
  const logits = result.logits!.dataSync().slice() as Float32Array;
  result.dispose();
  return logits;
}

const furthest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

const SMALL: Record<string, unknown> = { window: 6, kernel: 3, sinks: 2, future: 8 };
const settings = policies.list().flatMap(({ name }) => {
  const names = policies.flags(name).map((flag) => flag.name);
  if (!names.includes("rerotate")) return [];
  const small = Object.fromEntries(Object.entries(SMALL).filter(([key]) => names.includes(key)));
  return (names.includes("when") ? ["prefill", "decode"] : [undefined]).map((when) => ({
    title: `${name}${when ? ` when=${when}` : ""}`,
    policies: [{ name, params: { ...small, ratio: 0.6, rerotate: true, ...(when ? { when } : {}) } }],
  }));
});

/** The tokens held after each new token, and the logits behind. */
async function steps(options: GenerateOptions, count: number) {
  const logits: Float32Array[] = [];
  const onStep: GenerateOptions["onStep"] = (result) =>
    void logits.push(result.logits!.dataSync().slice() as Float32Array);
  const { ids } = await generate(model, { ...options, maxTokens: count, stop: [], onStep });
  const held: number[][] = [];
  for (let maxTokens = 1; maxTokens < count; maxTokens++)
    held.push((await generate(model, { ...options, maxTokens, stop: [] })).cache.kept![0]![0]!);
  return { ids, held, logits };
}

describe("a cache whose keys are turned", () => {
  it.each(settings)("reads as the text of its tokens does ($title)", async ({ policies }) => {
    const count = 5;
    const { ids, held, logits } = await steps({ tokens: TOKENS, policies }, count);
    const all = [...TOKENS, ...ids];
    held.forEach((kept, i) => {
      expect(kept.length).toBeLessThan(TOKENS.length);
      expect(furthest(logits[i + 1]!, behind([...kept, TOKENS.length + i].map((p) => all[p]!)))).toBeLessThan(1e-4);
    });
  });

  it("of streaming-llm goes on beyond the model's positions", async () => {
    const policies = [{ name: "streaming-llm", params: { budget: 12, sinks: 2, rerotate: true, when: "decode" } }];
    const before = tf.memory().numTensors;
    const count = 2 * CONTEXT;
    const { ids, cache } = await generate(model, { tokens: TOKENS, policies, maxTokens: count, stop: [] });
    expect(tf.memory().numTensors).toBe(before);
    const all = [...TOKENS, ...ids];
    const last = all.length - 1; // the last token is not read any more
    const kept = [0, 1, ...Array.from({ length: 10 }, (_, i) => last - 10 + i)];
    expect(cache.kept).toEqual([[kept]]);
    const window = [0, 1, ...Array.from({ length: 10 }, (_, i) => last - 11 + i)].map((p) => all[p]!);
    const logits = behind([...window, all[last - 1]!]);
    expect(ids.at(-1)).toBe(logits.indexOf(Math.max(...logits)));
  });

  it("is counted from the tokens it holds, where a new prompt comes behind, out of a file too", async () => {
    const policies = [{ name: "tova", params: { budget: 9, rerotate: true } }];
    const prefix = await readPrefix(model, { tokens: TOKENS, policies });
    expect(prefix.cache.lengths).toEqual([9]);
    const kept = prefix.cache.tokens(0, 0, 0);
    const logits: Float32Array[] = [];
    const onStep: GenerateOptions["onStep"] = (result) =>
      void logits.push(result.logits!.dataSync().slice() as Float32Array);
    // 30 + 3 + 20 tokens, at 9 + 3 + 20 positions of 40
    const { cache, ids } = await generate(model, { prefix, tokens: [3, 4, 5], maxTokens: 20, stop: [], onStep });
    expect(cache.kept![0]![0]).toEqual([...kept, ...Array.from({ length: 22 }, (_, i) => 30 + i)]);
    const text = [...kept.map((p) => TOKENS[p]!), 3, 4, 5, ...ids];
    expect(furthest(logits[0]!, behind(text.slice(0, 12)))).toBeLessThan(1e-4);
    expect(furthest(logits[5]!, behind(text.slice(0, 17)))).toBeLessThan(1e-4);
    const folder = mkdtempSync(join(tmpdir(), "headscope-rerotation-"));
    await saveCache(join(folder, "cache.safetensors"), prefix);
    const loaded = await loadCache(join(folder, "cache.safetensors"), model);
    rmSync(folder, { recursive: true });
    const again = await generate(model, { prefix: loaded, tokens: [3, 4, 5], maxTokens: 20, stop: [] });
    expect({ ids: again.ids, kept: again.cache.kept }).toEqual({ ids, kept: cache.kept });
    prefix.dispose();
    loaded.dispose();
  });

  it("is each prompt's own in a batch", async () => {
    const policies = [{ name: "streaming-llm", params: { ratio: 0.5, sinks: 2, rerotate: true, when: "decode" } }];
    const prompts = [TOKENS, TOKENS.slice(3, 20)];
    const batch = { prompts: prompts.map((tokens) => ({ tokens })), policies, maxTokens: 6, stop: [] };
    const together = await generateBatch(model, batch);
    for (const [i, tokens] of prompts.entries()) {
      const alone = await generate(model, { tokens, policies, maxTokens: 6, stop: [] });
      expect(together[i]!.ids).toEqual(alone.ids);
      expect(together[i]!.cache.kept).toEqual(alone.cache.kept);
    }
  });

  it.runIf(ready)("is held in fewer bits where keys are turned once, which is refused at every step", async () => {
    const run = (when: string) =>
      generate(model, {
        tokens: TOKENS,
        cache: "q8",
        policies: [{ name: "streaming-llm", params: { ratio: 0.5, sinks: 2, rerotate: true, when } }],
        maxTokens: 3,
      });
    expect((await run("prefill")).cache.kind).toBe("q8");
    expect(await errorOf(run("decode"))).toEqual(refused("usage", { field: "rerotate" }));
  });
});

describe("turning keys is refused", () => {
  const request = [{ name: "tova", params: { ratio: 0.5, rerotate: true } }];

  it("in a model that does not rotate them", async () => {
    const other = randomModel(smallConfig({ positional_embedding_type: "standard" }));
    expect(await errorOf(generate(other, { tokens: TOKENS, policies: request }))).toEqual(refused("unsupported"));
    other.dispose();
  });

  it("where more positions are taken than there are", async () => {
    const run = (params: object, maxTokens: number) =>
      errorOf(
        generate(model, {
          tokens: TOKENS,
          policies: [{ name: "streaming-llm", params: { sinks: 2, ...params } }],
          maxTokens,
        }),
      );
    expect(await run({ budget: 10, rerotate: true }, 31)).toEqual(refused("input", { message: "40" }));
    expect(await run({ budget: 10 }, 11)).toEqual(refused("input", { message: "40" }));
  });
});
