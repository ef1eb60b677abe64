import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { maskFromKvHeads } from "../../../../backend/common/heads/mask.ts";
import { headModel } from "../../../../backend/common/heads/model.ts";
import { createScores, writeScores } from "../../../../backend/heads/files.ts";
import { writeGates } from "../../../../backend/heads/gate-files.ts";
import { footprint } from "../../../../backend/inference/cost/footprint.ts";
import { generate, readPrefix } from "../../../../backend/inference/generate.ts";
import type { Generation } from "../../../../backend/inference/generation.ts";
import { choosePolicies, type PolicyChoice } from "../../../../backend/inference/policies/choice.ts";
import { policies } from "../../../../backend/inference/policies/index.ts";
import { MOMENTS } from "../../../../backend/inference/policies/kinds/parameters.ts";
import type { TokenPolicy } from "../../../../backend/inference/policies/kinds/tokens.ts";
import { kernelLibrary } from "../../../../backend/kernels/kernels.ts";
import { PAGE } from "../../../../backend/models/cache/page-rows.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";

/** KV heads of all layers, and bytes of a head's key and value in float32. */
const [HEADS, ROW] = [6, 2 * 16 * 4];
/** Tokens of the prompt: more than a page of 128. */
const TOKENS = 300;
const NEW = 9;

const { ready } = await kernelsHere();
const folder = mkdtempSync(join(tmpdir(), "headscope-held-"));
const scores = join(folder, "scores.json");
let model: Model;
beforeAll(async () => {
  model = await loadModel(fixture("policies/llama"));
  const values = [[0.1, 0.5, 0, 0.2], [0, 0.1, 0, 0.4], [0.7, 0.1, 0.2, 0]]; // biome-ignore format: a table
  const metrics = { retrieval: { axis: "heads" as const, values } };
  await writeScores(scores, createScores({ model: headModel(model), probe: "retrieval", params: {}, metrics }));
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

const SIZE = { tokens: TOKENS, newTokens: NEW, cache: "f32" as const };

function run(options: object): Promise<Generation> {
  const tokens = Array.from({ length: TOKENS }, (_, i) => 3 + ((i * 29) % 90));
  return generate(model, { tokens, maxTokens: NEW, stop: [], ...options });
}

async function bytesOf(
  choice: Partial<PolicyChoice>,
  options: object,
): Promise<[predicted: number, allocated: number]> {
  const { cache } = await run(options);
  return [footprint(choice, model.config, SIZE).bytes, cache.bytes];
}

describe("bytes that are predicted are those that are allocated", () => {
  it("by full attention", async () => {
    const [predicted, allocated] = await bytesOf({}, {});
    expect(predicted).toBe(allocated);
  });

  it.each(["masked", "dense"] as const)("by streaming heads, the prompt read %s", async (prefill) => {
    const mask = maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 4, recent: 100 });
    const [predicted, allocated] = await bytesOf({ heads: { mask, prefill, once: false } }, { mask, prefill });
    expect(predicted).toBe(allocated);
  });

  it("by sparse layers, of which new tokens let more go", async () => {
    const requests = [{ name: "longgen", params: { local: 1, stride: 3 } }];
    for (const newTokens of [1, NEW, 30]) {
      const { cache } = await run({ policies: requests, maxTokens: newTokens });
      const choice = await choosePolicies(requests);
      expect(footprint(choice, model.config, { ...SIZE, newTokens }).bytes).toBe(cache.bytes);
      expect(cache.bytes).toBeLessThan(cache.bytesFull);
    }
  });

  /** Those that want nothing trained: what is trained changes scores alone. */
  const named = policies.list().filter(({ name, chooses }) => {
    const trained = policies.flags(name).some(({ description }) => description.includes("train-gates"));
    return (chooses === "tokens" || chooses === "reads") && !trained;
  });
  const cases = named.flatMap((policy) => {
    const moments = "when" in policy.parameters.shape ? MOMENTS : [undefined];
    return moments.map((when) => ({ policy, when, title: when ? `${policy.name}, when=${when}` : policy.name }));
  });
  it.each(cases)("by $title, at a budget of 150 tokens", async ({ policy, when }) => {
    const files = "scores" in policy.parameters.shape ? { scores } : {};
    const requests = [{ name: policy.name, params: { budget: 150, ...files, ...(when && { when }) } }];
    const [predicted, allocated] = await bytesOf(await choosePolicies(requests), { policies: requests });
    // Heads that share their tokens by what they score round to pages in other places.
    const rounding = "choose" in policy && policy.chooses === "tokens" ? HEADS * PAGE * ROW : 0;
    expect(Math.abs(predicted! - allocated!)).toBeLessThanOrEqual(rounding);
  });

  it.skipIf(!ready).each([
    ["kivi", {}],
    ["kivi", { bits: 2, group: 16, recent: 0 }],
    ["kivi", { bits: 3, group: 64 }],
    ["kivi", { bits: 6, group: 128, recent: 64 }],
    ["minifloat", {}],
    ["minifloat", { format: "E3M2", group: 16, recent: 0 }],
    ["kvquant", { recent: 0 }],
    ["kvquant", { bits: 3, outliers: 0.05 }],
  ])("by %s of %j", async (name, params) => {
    const requests = [{ name, params }];
    const [predicted, allocated] = await bytesOf(await choosePolicies(requests), { policies: requests });
    expect(predicted).toBe(allocated);
  });

  it.each([
    [{}, undefined],
    [{ ratio: 0.2 }, undefined],
    [{ ratio: 0.2, zeroed: true }, undefined],
    [{ ratio: 0.9 }, { name: "snapkv", params: { ratio: 0.5 } }],
  ])("by think of %j, behind %j", async (params, before) => {
    const requests = [...(before ? [before] : []), { name: "think", params }];
    for (const cache of ready ? (["f32", "f16", "q8"] as const) : (["f32"] as const)) {
      const { bytes } = footprint(await choosePolicies(requests), model.config, { ...SIZE, cache });
      expect((await run({ policies: requests, cache })).cache.bytes).toBe(bytes);
    }
  });

  it("is said not to be known by think where tokens go one by one", async () => {
    const requests = [{ name: "tova", params: { budget: 150, when: "decode" } }, { name: "think" }];
    expect(footprint(await choosePolicies(requests), model.config, SIZE).undecided).toEqual(["think"]);
  });

  it.each([{ rank: 5 }, { ratio: 0.5, layers: 2 }])("by xkv of %j", async (params) => {
    const requests = [{ name: "xkv", params }];
    const [predicted, allocated] = await bytesOf(await choosePolicies(requests), { policies: requests });
    expect(predicted).toBe(allocated);
  });
});

describe.skipIf(!ready)("the most bytes at a time that are predicted are those of the pages", () => {
  const heads = join(folder, "heads.safetensors");
  beforeAll(async () => {
    const { n_layers, n_heads, n_key_value_heads, d_head } = model.config;
    const drawn = (...shape: number[]) => ({
      shape,
      values: Float32Array.from({ length: shape[0]! * shape[1]! }, (_, i) => Math.sin(i)),
    });
    const tensors = Array.from({ length: n_layers }, (_, layer) => [
      [`blocks.${layer}.fc1`, drawn(4, (n_heads + 2 * n_key_value_heads) * d_head)] as const,
      [`blocks.${layer}.fc2`, drawn(n_key_value_heads, 4)] as const,
    ]);
    const about = { method: "locret", model: headModel(model), params: {}, seed: 0, step: 1, steps: 1, seconds: 0, curve: [] }; // biome-ignore format: one line
    await writeGates(heads, { about, tensors: new Map(tensors.flat()) });
  });

  it.each([
    [undefined, {}],
    ["snapkv", { budget: 128 }],
    ["locret", { budget: 128, stabilizers: 16, part: 64 }],
    ["locret", { budget: 128, stabilizers: 16, part: 128 }],
    ["locret", { budget: 128, stabilizers: 16, part: 300 }],
  ])("by %s of %j", async (name, params) => {
    const requests = name ? [{ name, params: { ...params, ...(name === "locret" && { heads }) } }] : [];
    const library = kernelLibrary();
    const before = library.pageBytes();
    let peak = 0;
    for (const name of ["makePage", "copyPage"] as const) {
      const make = library[name] as (...args: number[]) => number;
      vi.spyOn(library, name).mockImplementation((...args: unknown[]) => {
        const page = make(...(args as number[]));
        peak = Math.max(peak, library.pageBytes() - before);
        return page;
      });
    }
    const tokens = Array.from({ length: TOKENS }, (_, i) => 3 + ((i * 29) % 90));
    const prefix = await readPrefix(model, { tokens, policies: requests });
    prefix.dispose();
    const { peakBytes } = footprint(await choosePolicies(requests), model.config, { ...SIZE, newTokens: 1 });
    vi.restoreAllMocks();
    // A page that grows is there twice for a moment.
    expect(peak).toBeGreaterThanOrEqual(peakBytes);
    expect(peak).toBeLessThanOrEqual(peakBytes + PAGE * ROW);
  });
});

describe("attention of the prompt that is predicted is what is computed", () => {
  it("is that of its parts by a policy that cuts behind each of them", () => {
    const policy = { part: () => 64, name: "parted", chooses: "tokens" } as unknown as TokenPolicy;
    const choice = { tokens: { policy, params: { budget: 100 } } };
    // By query: all of the parts before, at most the budget, and of its own those up to itself.
    let pairs = 0;
    for (let query = 0; query < TOKENS; query++) {
      const begin = 64 * Math.floor(query / 64);
      pairs += Math.min(begin, 100) + query - begin + 1;
    }
    expect(footprint(choice, model.config, SIZE).pairs).toBe(pairs * 3 * 4);
  });

  const placed = policies.list().filter((policy) => policy.chooses === "blocks" && policy.placed);
  it.each(placed.map(({ name }) => name))("by %s", async (name) => {
    const requests = [{ name }];
    const choice = await choosePolicies(requests);
    const { pairs, undecided } = footprint(choice, model.config, SIZE);
    const all = footprint({}, model.config, SIZE);
    const { prefill } = await run({ policies: requests });
    expect(pairs / all.pairs).toBeCloseTo(prefill!.read, 9);
    expect(undecided).toEqual([]);
  });

  it("is full attention's where a policy decides as it runs, and it says so", async () => {
    const choice = await choosePolicies([{ name: "xattention" }]);
    const { pairs, undecided } = footprint(choice, model.config, SIZE);
    expect(pairs).toBe(footprint({}, model.config, SIZE).pairs);
    expect(undecided).toEqual(["xattention"]);
  });
});
