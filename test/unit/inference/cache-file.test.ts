import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maskFromKvHeads } from "../../../backend/common/heads/mask.ts";
import { headModel } from "../../../backend/common/heads/model.ts";
import { CACHE_KINDS } from "../../../backend/common/words.ts";
import { intervenedModel } from "../../../backend/hooks/intervened-model.ts";
import { loadCache, saveCache } from "../../../backend/inference/cache-file.ts";
import { generate, generateBatch, readPrefix } from "../../../backend/inference/generate.ts";
import type { Prefix } from "../../../backend/inference/prefix.ts";
import { loadKernels } from "../../../backend/kernels/kernels.ts";
import { pageBytes } from "../../../backend/kernels/pages.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import type { Model } from "../../../backend/models/model.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { failure } from "../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";

await initBackend();
let model: Model;
let folder: string;
const TOKENS = randomTokens(1, 150, 96, 5)[0]!;
const MORE = randomTokens(1, 6, 96, 6)[0]!;

/** Tensors, and bytes of the kernels' pages. */
const memory = (): number[] => [tf.memory().numTensors, pageBytes()];

beforeAll(async () => {
  model = randomModel(smallConfig());
  folder = await mkdtemp(join(tmpdir(), "headscope-cache-"));
});
afterAll(async () => {
  model.dispose();
  await rm(folder, { recursive: true });
});
const file = (name: string): string => join(folder, name);

describe("a prefix", () => {
  it("is the beginning of many continuations, each as if all of it were read", async () => {
    const prefix = await readPrefix(model, { tokens: TOKENS });
    for (const tokens of [MORE, MORE.slice(2), []]) {
      const whole = await generate(model, { tokens: [...TOKENS, ...tokens], maxTokens: 5 });
      const { ids, promptTokens } = await generate(model, { prefix, tokens, maxTokens: 5 });
      expect([ids, promptTokens]).toEqual([whole.ids, TOKENS.length + tokens.length]);
    }
    const prompts = [{ tokens: MORE }, {}, { tokens: MORE, seed: 3, temperature: 1 }];
    const [first, second] = await generateBatch(model, { prefix, prompts, maxTokens: 5 });
    expect(first!.ids).toEqual((await generate(model, { tokens: [...TOKENS, ...MORE], maxTokens: 5 })).ids);
    expect(second!.ids).toEqual((await generate(model, { tokens: TOKENS, maxTokens: 5 })).ids);
    expect(prefix.cache.lengths).toEqual([TOKENS.length]);
    prefix.dispose();
  });

  it("is refused once it does not hold its tokens, or where it is none", async () => {
    const [gone, run] = [await readPrefix(model, { tokens: MORE }), await readPrefix(model, { tokens: MORE })];
    gone.dispose();
    forward(model, { tokens: [MORE], cache: run.cache }).dispose();
    for (const prefix of [gone, run, {}, null] as Prefix[])
      for (const tokens of [MORE, []])
        expect((await failure(() => generate(model, { prefix, tokens }))).kind).toBe("usage");
    for (const prefix of [gone, run])
      expect((await failure(() => saveCache(file("gone.safetensors"), prefix))).kind).toBe("usage");
    run.dispose();
  });

  it("goes on under its own interventions and windows only", async () => {
    const mask = maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 2, recent: 9 });
    const zero = [{ at: "attn.hook_z", layer: 0, heads: [1], do: "zero" as const }];
    const plain = await readPrefix(model, { tokens: TOKENS });
    const masked = await readPrefix(model, { tokens: TOKENS, mask, interventions: zero });
    const going = async (prefix: typeof plain, options: object) =>
      (await failure(() => generate(model, { prefix, tokens: MORE, ...options }))).kind;
    expect(await going(plain, { interventions: zero })).toBe("mismatch");
    expect(await going(plain, { mask })).toBe("mismatch");
    expect(await going(masked, { mask })).toBe("mismatch");
    expect(await going(plain, { cache: "f16" })).toBe("mismatch");
    expect(await going(plain, { useCache: false })).toBe("usage");
    const whole = { tokens: [...TOKENS, ...MORE], maxTokens: 5 };
    const { ids } = await generate(model, { prefix: masked, tokens: MORE, maxTokens: 5, mask, interventions: zero });
    expect(ids).toEqual((await generate(model, { ...whole, mask, interventions: zero })).ids);
    const dense = await generate(model, { prefix: plain, tokens: MORE, maxTokens: 5, mask, prefill: "dense" });
    expect(dense.ids).toEqual((await generate(model, { ...whole, mask, prefill: "dense" })).ids);
    for (const prefix of [plain, masked]) prefix.dispose();
  });
});

describe("a cache in a file", () => {
  const windows = () => maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 2, recent: 133 });

  it.each(CACHE_KINDS.flatMap((kind) => [[kind, "full"], [kind, "streaming"]] as const))(
    "in %s, with %s heads, goes on as it would have, to the bit",
    async (kind, heads) => {
      const mask = heads === "full" ? undefined : windows();
      const options = { mask, cache: kind };
      const prefix = await readPrefix(model, { tokens: TOKENS, ...options }).catch((error) => error);
      if (prefix.kind === "unsupported") return expect(kind).not.toBe("f32"); // no kernels here
      const before = memory();
      await saveCache(file("prefix"), prefix);
      const read = await loadCache(file("prefix"), model);
      expect([read.tokens, [...read.logits], read.cache.bytes]).toEqual([TOKENS, [...prefix.logits], prefix.cache.bytes]);
      for (const tokens of [MORE, []]) {
        const going = { tokens, maxTokens: 40, ...options };
        const { prefillMs: _, decodeMsPerToken: __, ...first } = await generate(model, { ...going, prefix });
        expect(await generate(model, { ...going, prefix: read })).toMatchObject(first);
      }
      read.dispose();
      expect(memory()).toEqual(before);
      prefix.dispose();
    },
  ); // biome-ignore format: a table

  it("keeps what an eviction has left", async () => {
    const prefix = await readPrefix(model, { tokens: TOKENS, mask: windows() });
    const kept = [0, 1, 40, 41, 42, 90, 149];
    for (const head of [0, 1]) prefix.cache.evict(1, 0, head, kept);
    await saveCache(file("evicted"), prefix);
    const read = await loadCache(file("evicted"), model);
    for (const head of [0, 1]) expect(read.cache.positions(1, 0, head)).toEqual(kept);
    const going = { tokens: MORE, maxTokens: 30 };
    const { prefillMs: _, decodeMsPerToken: __, ...first } = await generate(model, { ...going, prefix });
    expect(await generate(model, { ...going, prefix: read })).toMatchObject(first);
    for (const each of [prefix, read]) each.dispose();
  });

  it("is of one model with its weights", async () => {
    const prefix = await readPrefix(model, { tokens: TOKENS });
    await saveCache(file("own"), prefix);
    prefix.dispose();
    for (const other of [randomModel(smallConfig(), 2), randomModel(smallConfig({ n_layers: 2 }))]) {
      expect((await failure(() => loadCache(file("own"), other))).kind).toBe("mismatch");
      other.dispose();
    }
  });

  it("can't be of a model under interventions, of which it would not tell", async () => {
    const { model: changed, dispose } = intervenedModel(model, [{ at: "attn.hook_z", layer: 0, do: "zero" }]);
    const prefix = await readPrefix(changed, { tokens: TOKENS });
    expect((await failure(() => saveCache(file("changed"), prefix))).kind).toBe("unsupported");
    await expect(stat(file("changed"))).rejects.toThrow();
    prefix.dispose();
    dispose();
  });

  it("keeps the channels that are left of keys, dropped or zeroed, in as many bytes", async () => {
    const { d_head } = model.config;
    for (const kind of ["f32", ...(loadKernels().ready ? (["f16", "q8"] as const) : [])] as const)
      for (const params of [{ ratio: 0.3 }, { ratio: 0.3, zeroed: true }, { ratio: 0 }]) {
        const policies = [{ name: "think", params: { window: 6, ...params } }];
        const prefix = await readPrefix(model, { tokens: TOKENS, policies, cache: kind });
        await saveCache(file("channels"), prefix);
        const read = await loadCache(file("channels"), model);
        const going = { tokens: MORE, maxTokens: 5 };
        const { prefillMs: _, decodeMsPerToken: __, ...first } = await generate(model, { ...going, prefix });
        expect(first.cache.channels!.flat()[0]).toHaveLength(d_head - Math.trunc(d_head * params.ratio));
        expect(await generate(model, { ...going, prefix: read })).toMatchObject(first);
        expect(read.cache.bytes).toBe(prefix.cache.bytes);
        for (const each of [prefix, read]) each.dispose();
      }
  });

  it("with channels that don't ascend is refused", async () => {
    const policies = [{ name: "think", params: { window: 6, ratio: 0.75 } }];
    const prefix = await readPrefix(model, { tokens: TOKENS.slice(0, 20), policies });
    await saveCache(file("few"), prefix);
    const [[few]] = prefix.cache.channels(0)! as [[number[]]];
    prefix.dispose();
    expect(few).toHaveLength(2);
    const text = (await readFile(file("few"))).toString("latin1");
    const [list, turned] = [few, [...few].reverse()].map((channels) => `[[[${channels}]`);
    expect(text).toContain(list);
    const before = memory();
    await writeFile(file("damaged"), Buffer.from(text.replace(list!, turned!), "latin1"));
    expect((await failure(() => loadCache(file("damaged"), model))).kind).toBe("corrupt");
    expect(memory()).toEqual(before);
  });

  it("that is cut off or does not fit together is refused, and leaves nothing behind", async () => {
    const prefix = await readPrefix(model, { tokens: TOKENS.slice(0, 20) });
    await saveCache(file("whole"), prefix);
    prefix.dispose();
    const bytes = await readFile(file("whole"));
    const before = memory();
    const refused = async (damaged: Uint8Array): Promise<string> => {
      await writeFile(file("damaged"), damaged);
      const error = await failure(() => loadCache(file("damaged"), model));
      expect(error.remedy).toContain("save the cache again");
      return error.kind;
    };
    const header = Number(bytes.readBigUInt64LE(0)) + 8;
    for (const length of [0, 7, 100, header - 1, header, header + 300, bytes.length - 1])
      expect(await refused(bytes.subarray(0, length)), `${length} bytes`).toBe("corrupt");
    const edited = (from: string, to: string): Uint8Array => {
      const text = bytes.toString("latin1");
      expect(text).toContain(from);
      return Buffer.from(text.replace(from, to.padEnd(from.length)), "latin1");
    };
    expect(await refused(edited("headscope.kv-cache/1", "headscope.kv-cache/2"))).toBe("input");
    expect(await refused(edited('"headscope.kv-cache":', '"headscope.no-cache":'))).toBe("input");
    expect(await refused(edited("[null,null]", "[null]"))).toBe("corrupt");
    expect(await refused(edited('"blocks.1.kv.0.keys"', '"blocks.1.kv.0.kays"'))).toBe("corrupt");
    expect(memory()).toEqual(before);
  });

  it("that was never saved is missing", async () => {
    expect((await failure(() => loadCache(file("none"), model))).kind).toBe("missing");
  });
});
