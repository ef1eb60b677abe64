import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { ablate, ablateSweep, drawControls } from "../../../backend/circuits/ablation/ablate.ts";
import { intervene } from "../../../backend/circuits/intervene.ts";
import { patch } from "../../../backend/circuits/patching/patch.ts";
import { patchPaths } from "../../../backend/circuits/patching/path.ts";
import { HeadscopeError } from "../../../backend/common/errors.ts";
import { maskFromHeads, maskFromKvHeads } from "../../../backend/common/heads/mask.ts";
import { headModel } from "../../../backend/common/heads/model.ts";
import { zeroHeads } from "../../../backend/hooks/interventions.ts";
import { runWithCache, runWithHooks } from "../../../backend/hooks/run.ts";
import { generate } from "../../../backend/inference/generate.ts";
import { KvCache } from "../../../backend/models/cache/kv-cache.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import type { Model } from "../../../backend/models/model.ts";
import { hookNames } from "../../../backend/models/transformer/hook-points.ts";
import { parameterNames } from "../../../backend/models/weights/parameters.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { probe, probeMany } from "../../../probes/index.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";

let model: Model;
const [ids] = randomTokens(1, 8, 96) as [number[]];
const rows = randomTokens(3, 8, 96);
const Z = "blocks.1.attn.hook_z";
const head = { layer: 1, head: 2 };
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
  forward(model, { tokens: [ids] }).dispose(); // its tables of rotations are kept from here on
});

/** The kind of error that a call ends in; "none" where it works. */
async function kindOf(call: () => unknown): Promise<string> {
  try {
    await call();
    return "none";
  } catch (error) {
    return error instanceof HeadscopeError ? error.kind : `no error of headscope: ${error}`;
  }
}

// Scripts in plain JavaScript have no types to tell them what there is.
const any = (value: unknown): never => value as never;

describe("functions of the library refuse what they do not know", () => {
  const pair = { clean: ids, corrupt: [...ids.slice(0, 7), (ids[7]! + 1) % 96], answer: 1, wrong: 2 };
  const cases: [string, () => unknown][] = [
    ["an option of runWithCache", () => runWithCache(model, [ids], any({ names_filter: [Z] }))],
    ["an option of runWithHooks", () => runWithHooks(model, [ids], any({ fwd_hooks: [] }))],
    ["an option of forward", () => forward(model, { tokens: [ids] }, any({ hook: [] }))],
    ["an input of forward", () => forward(model, any({ tokens: [ids], attentionMask: [[1]] }))],
    ["a text in the place of tokens", () => runWithCache(model, any("text"))],
    ["layers that end before they begin", () => forward(model, { tokens: [ids], startLayer: 2, stopLayer: 1 })],
    ["logits at no position", () => forward(model, { tokens: [ids], logitsAt: [] })],
    ["an option of generate", () => generate(model, any({ tokens: ids, hooks: [] }))],
    ["several rows to continue", () => generate(model, any({ tokens: [ids, ids] }))],
    ["no new tokens", () => generate(model, { tokens: ids, maxTokens: 0 })],
    ["a temperature that is no number", () => generate(model, { tokens: ids, temperature: Number.NaN })],
    ["a prefill", () => generate(model, { tokens: ids, prefill: any("dens") })],
    ["a seed", () => generate(model, { tokens: ids, seed: 1.5 })],
    ["a method of ablation", () => ablate(model, { tokens: rows, heads: [head], method: any("median") })],
    ["no method of ablation", () => ablate(model, any({ tokens: rows, heads: [head] }))],
    ["a number of controls", () => ablate(model, { tokens: rows, heads: [head], method: "zero", controls: -1 })],
    ["heads as text", () => ablate(model, { tokens: rows, heads: any(["1.2"]), method: "zero" })],
    ["an option of a sweep", () => ablateSweep(model, any({ tokens: rows, sets: [[head]], method: "zero", heads: [] }))],
    ["a node to patch", () => patch(model, { pairs: [pair], node: any("resid_end"), by: "layer" })],
    ["a layer to patch", () => patch(model, { pairs: [pair], node: "z", by: "head", layers: [3] })],
    ["a receiver that does not exist", () => patchPaths(model, { pairs: [pair], into: [{ layer: 1, head: 6 }], through: "q" })],
    ["a negative receiver", () => patchPaths(model, { pairs: [pair], into: [{ layer: 1, head: -1 }], through: "k" })],
    ["a way of path patching", () => patchPaths(model, { pairs: [pair], into: [head], through: "q", mlps: any("mlp") })],
    ["interventions as data where compiled ones belong", () => generate(model, { tokens: ids, forward: any({ interventions: zeroHeads([head]) }) })],
    ["an option of a cache", () => new KvCache(model.config, any({ capcity: 8 }))],
    ["half a row of a cache", () => new KvCache(model.config, { rows: 1.5 })],
    ["a cache of no tokens", () => new KvCache(model.config, { capacity: 0 })],
    ["windows of another shape", () => new KvCache(model.config, { windows: [[{ sink: 1, recent: 1 }]] })],
    ["a context that no probe knows", () => probe(model, "induction", {}, any({ sed: 3 }))],
    ["a seed of a probe as text", () => probeMany(model, ["induction"], any({ seed: "3" }))],
    ["what is no model", () => hookNames(any({}))],
  ]; // biome-ignore format: a line a case
  it.each(cases)("%s", async (_, call) => expect(await kindOf(call)).toBe("usage"));

  const pairs: [string, object][] = [
    ["an id below 0", { answer: -1 }],
    ["an id beyond the vocabulary in a prompt", { clean: [...ids.slice(0, 7), 500] }],
    ["an unknown field", { position: 3 }],
    ["two equal prompts", { corrupt: ids }],
    ["two equal answers", { wrong: 1 }],
    ["an empty prompt", { clean: [], corrupt: [] }],
  ];
  it.each(pairs)("a pair with %s, in activation and path patching alike", async (_, changes) => {
    const pairs = [{ ...pair, ...changes }] as never;
    expect(await kindOf(() => patch(model, { pairs, node: "z", by: "layer" }))).toBe("input");
    expect(await kindOf(() => patchPaths(model, { pairs, into: [head], through: "q" }))).toBe("input");
  });

  it("hook_attn_in of grouped queries, by its reason", async () => {
    expect(await kindOf(() => runWithCache(model, [ids], { names: ["blocks.0.hook_attn_in"] }))).toBe("unsupported");
  });
});

describe("what a hook returns", () => {
  const returned: [string, (z: ReturnType<typeof tf.zerosLike>) => unknown][] = [
    ["another shape of as many numbers", (z) => tf.transpose(z, [0, 2, 1, 3])],
    ["fewer numbers", (z) => tf.slice(z, [0, 0, 0, 0], [1, 3, 6, 8])],
    ["a number", () => 0],
    ["a promise", async (z) => z],
    ["null", () => null],
    ["a freed tensor", (z) => z.dispose()],
  ];
  it.each(returned)("is refused where it is %s", async (_, hook) => {
    const before = tf.memory().numTensors;
    expect(await kindOf(() => runWithHooks(model, [ids], { hooks: [[Z, hook as never]] }))).toBe("usage");
    expect(tf.memory().numTensors).toBe(before);
  });

  it("is the same whether activations are kept or not", () => {
    const hooks = [[Z, (z: ReturnType<typeof tf.zerosLike>) => tf.zerosLike(z)]] as const;
    const logits = runWithHooks(model, [ids], { hooks })!;
    const kept = runWithCache(model, [ids], { hooks, names: [Z] });
    const captured = runWithHooks(model, [ids], { interventions: [{ at: Z, do: "zero" }] })!;
    expect(maxDifference(logits, kept.logits!)).toBe(0);
    expect(maxDifference(logits, captured)).toBeLessThan(2e-4);
    expect(maxDifference(kept.cache.get(Z), tf.zerosLike(kept.cache.get(Z)))).toBe(0);
    tf.dispose([logits, kept.logits!, captured]);
    kept.cache.dispose();
  });

  it("is told where its activation begins over a cache of activations in chunks", () => {
    const starts: number[][] = [];
    const long = randomTokens(1, 600, 96);
    const hooks = [[Z, (_: unknown, __: string, at: readonly number[]) => void starts.push([...at])]] as const;
    forward(model, { tokens: long, logitsAt: "none" }, { hooks }).dispose();
    expect(starts).toEqual([[0], [512]]);
  });
});

it("hookNames and parameterNames take a model or its config", () => {
  expect(hookNames(model)).toEqual(hookNames(model.config));
  expect(parameterNames(model)).toEqual(parameterNames(model.config));
  expect(hookNames(model).length).toBeGreaterThan(3 * 20);
});

describe("a mask", () => {
  const windows = () => maskFromKvHeads(headModel(model), [{ layer: 0, head: 1 }], { sink: 1, recent: 2 });
  const common = { tokens: ids, maxTokens: 6, stop: [] };

  it("that ablates heads generates as these heads zeroed, with a window or without", async () => {
    const { heads } = maskFromHeads(headModel(model), [head]);
    const interventions = zeroHeads([head]);
    const alone = await generate(model, { ...common, mask: maskFromHeads(headModel(model), [head]) });
    const both = await generate(model, { ...common, mask: { ...windows(), heads } });
    const plain = await generate(model, common);
    expect(alone.ids).toEqual((await generate(model, { ...common, interventions })).ids);
    expect(both.ids).toEqual((await generate(model, { ...common, mask: windows(), interventions })).ids);
    expect(maxLogit(alone.logits, plain.logits)).toBeGreaterThan(1e-3);
    expect(both.cache.bytes).toBeLessThan(both.cache.bytesFull);
  });

  it("says the positions that are kept in ascending order", async () => {
    const { cache } = await generate(model, { ...common, mask: windows() });
    for (const kept of cache.kept!.flat()) expect(kept).toEqual([...kept].sort((a, b) => a - b));
  });

  it("of another shape is a mismatch", async () => {
    const other = maskFromHeads({ ...headModel(model), layers: 2 }, [{ layer: 0, head: 0 }]);
    expect(await kindOf(() => generate(model, { ...common, mask: other }))).toBe("mismatch");
  });

  it("generates without a cache what it generates with one", async () => {
    for (const mask of [windows(), maskFromHeads(headModel(model), [head])]) {
      const cached = await generate(model, { ...common, mask });
      const whole = await generate(model, { ...common, mask, useCache: false });
      expect(whole.ids).toEqual(cached.ids);
      expect(whole.cache.bytes).toBe(0);
    }
    const dense = { ...common, mask: windows(), prefill: "dense", useCache: false } as const;
    expect(await kindOf(() => generate(model, dense))).toBe("usage");
  });
});

function maxLogit(a: Float32Array, b: Float32Array): number {
  return Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));
}

describe("controls of an ablation", () => {
  const of = (layer: number, ...heads: number[]) => heads.map((h) => ({ layer, head: h }));

  it("are drawn once where there is one set to draw, and say how many sets there are", () => {
    expect(drawControls(model, of(0, 0, 1, 2, 3), 5, 0)).toMatchObject({ ways: 1, draws: [of(0, 4, 5)] });
    expect(drawControls(model, of(0, 0), 32, 0).ways).toBe(5);
    expect(drawControls(model, of(0, 0, 1), 5, 0).ways).toBe(6);
  });

  it("come with a word where there are none", async () => {
    const all = await ablate(model, { tokens: rows, heads: of(0, 0, 1, 2, 3, 4, 5), method: "zero" });
    expect(all.control).toBeUndefined();
    expect(all.noControl).toBeDefined();
    const none = await ablate(model, { tokens: rows, heads: of(0, 0), method: "zero", controls: 0 });
    expect(none.noControl).toBeUndefined();
    const one = await ablate(model, { tokens: rows, heads: of(0, 0, 1, 2, 3), method: "zero" });
    expect(one.control).toMatchObject({ ways: 1 });
  });
});

describe("numbers that are none", () => {
  // 1e38 times anything above 3.4 is infinite in single precision.
  const broken = [{ at: "blocks.1.hook_mlp_out", do: "scale", with: 1e38 } as const, { at: "blocks.1.hook_mlp_out", do: "scale", with: 1e38 } as const]; // biome-ignore format: one line

  it("stop a generation, with the place where they arose", async () => {
    const made = generate(model, { tokens: ids, interventions: broken, stop: [] });
    await expect(made).rejects.toMatchObject({
      kind: "input",
      message: expect.stringContaining("blocks.1.hook_mlp_out"),
    });
  });

  it.each(["blocks.0.hook_resid_pre", "blocks.2.hook_mlp_out", "ln_final.hook_normalized"])(
    "that a hook gives at %s are found there, and nothing is left of the search",
    async (at) => {
      const hooks = [[at, (t: Tensor) => tf.mul(t, tf.scalar(Number.NaN))]] as const;
      const before = tf.memory().numTensors;
      await expect(generate(model, { tokens: ids, stop: [], forward: { hooks } })).rejects.toMatchObject({
        kind: "input",
        message: expect.stringContaining(at),
      });
      expect(tf.memory().numTensors).toBe(before);
    },
  );

  it("stop the measuring of losses", async () => {
    const made = intervene(model, { tokens: rows, interventions: broken });
    await expect(made).rejects.toMatchObject({
      kind: "input",
      message: expect.stringContaining("blocks.1.hook_mlp_out"),
    });
  });

  it("do not stop what is finite", async () => {
    const { clean, changed } = await intervene(model, { tokens: rows, interventions: zeroHeads([head]) });
    const { ablated } = await ablate(model, { tokens: rows, heads: [head], method: "zero", controls: 0 });
    expect(changed.loss).toBeCloseTo(ablated.loss, 4);
    expect(clean.loss).not.toBeCloseTo(changed.loss, 4);
  });
});
