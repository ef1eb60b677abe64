import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type GenerateOptions,
  generate,
  generateBatch,
  readPrefix,
} from "../../../../../backend/inference/generate.ts";
import type { Attending } from "../../../../../backend/inference/policies/attention.ts";
import { atBudget } from "../../../../../backend/inference/policies/budget.ts";
import { policies } from "../../../../../backend/inference/policies/index.ts";
import { lazyllm } from "../../../../../backend/inference/policies/inputs/lazyllm.ts";
import { WaitingTokens } from "../../../../../backend/inference/policies/work/layers/waiting-tokens.ts";
import { rowsAllocated } from "../../../../../backend/models/cache/page-rows.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { errorOf, refused } from "../../../../helpers/errors.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";
import { drawnInput, type PolicyDefinition, policyDefinitions } from "../../../../helpers/oracles/policies.ts";

await kernelsHere();
const TOKENS = randomTokens(1, 43, 96, 5)[0]!;
let model: Model;
beforeAll(async () => {
  model = randomModel(smallConfig());
  await generate(model, { tokens: [1] }); // makes the tables of rotations, which the model keeps
});
afterAll(() => model.dispose());

const lazily = (params: Record<string, unknown>, more: Partial<GenerateOptions> = {}) =>
  generate(model, { tokens: TOKENS, policies: [{ name: "lazyllm", params }], maxTokens: 4, stop: [], ...more });

/** Queries [layers, heads, tokens, d_head] and keys [layers, KV heads, tokens, d_head] of the definition. */
function drawn({ inputs }: PolicyDefinition, layers: number): Tensor[] {
  const { seed } = policyDefinitions();
  const array = (name: string) => tf.tensor([...drawnInput(inputs[name]!, seed)], inputs[name]!.shape);
  return (["Q", "K"] as const).map((name) => {
    const all = tf.concat([array(name.toLowerCase()), array(`more${name}`)], 1);
    const [rows, tokens, width] = all.shape as [number, number, number];
    return tf.reshape(all, [layers, rows / layers, tokens, width]);
  });
}

describe("lazyllm", () => {
  it("leaves out, lets wait and runs on what a NumPy program of its definition does", () => {
    const section = policyDefinitions().sections["lazyllm"]!;
    const { tokens, steps, percentiles } = section.parameters as {
      tokens: number;
      steps: number;
      percentiles: number[];
    };
    const [queries, keys] = drawn(section, percentiles.length) as [Tensor, Tensor];
    const [, heads, , width] = queries.shape as [number, number, number, number];
    const kvHeads = keys.shape[1]!;
    const config = smallConfig({
      n_heads: heads,
      n_key_value_heads: kvHeads,
      d_head: width,
      attn_scale: width ** -0.5,
    });
    const waiting = percentiles.map(() => new WaitingTokens());
    for (let step = 0; step <= steps; step++) {
      const last = tokens - 1 + step;
      let here = Array.from({ length: last + 1 }, (_, p) => p);
      let arriving = step === 0 ? here : [last];
      percentiles.forEach((percentile, layer) => {
        const states = tf.reshape(tf.tensor(arriving), [1, arriving.length, 1]);
        const on = waiting[layer]!.pass({ positions: arriving, states }, new Set(here));
        expect([...on.states.dataSync()]).toEqual(on.positions);
        expect(on.positions).toEqual((section["ran"] as number[][][])[step]![layer]);
        expect(waiting[layer]!.positions).toEqual((section["waiting"] as number[][][])[step]![layer]);
        arriving = [...on.positions];
        const places = tf.tensor1d(here, "int32");
        const view: Attending = {
          ...{ config, layer, length: last + 1, kvHeads, held: here.length, step, steps },
          queries: tf.slice(tf.gather(queries, layer), [0, last, 0], [heads, 1, width]),
          keys: tf.gather(tf.gather(keys, layer), places, 1),
          positions: tf.tile(tf.expandDims(tf.cast(places, "float32"), 0), [kvHeads, 1]),
        };
        here = lazyllm.goOn(view, percentile).map((place) => here[place]!);
        expect(here).toEqual((section["steps"] as number[][][])[step]![layer]);
      });
    }
  });

  it("leaves out the same part at each stage, down to what the last layers are to read", () => {
    expect(lazyllm.stages({}, 30)).toEqual([8, 15, 23]);
    expect(lazyllm.stages({ percentiles: [50] }, 30)).toEqual([15]);
    const left = (params: Record<string, unknown>) =>
      lazyllm.percentiles(params, 3, 80).reduce((rest, percentile) => rest * (1 - percentile / 100), 80);
    expect(left({ ratio: 0.75 })).toBeCloseTo(20, 9);
    expect(left({ budget: 10 })).toBeCloseTo(10, 9);
    expect(left({ budget: 100 })).toBe(80);
    expect(lazyllm.percentiles({ percentiles: [10, 20] }, 2, 80)).toEqual([10, 20]);
  });

  it("follows a budget in its last layers, and none beside percentiles", () => {
    const lazy = policies.get("lazyllm");
    expect(atBudget(lazy, {}, 0.25)).toEqual({ ratio: 0.75 });
    expect(atBudget(lazy, {}, 64)).toEqual({ budget: 64 });
    for (const given of [{ percentiles: [50] }, { ratio: 0.5 }]) expect(atBudget(lazy, given, 0.25)).toBeUndefined();
  });

  it("counts the states that wait among the bytes, and the share of the keys held that new tokens read", async () => {
    const { cache } = await lazily({ layers: [1], percentiles: [70] }, { maxTokens: 1 });
    const waiting = TOKENS.length - cache.kept![1]![0]!.length;
    expect(cache.kept![0]![0]!.length).toBe(TOKENS.length);
    expect(waiting).toBeGreaterThan(20);
    const heads = cache.kept!.flat();
    const rows = heads.reduce((sum, positions) => sum + rowsAllocated(positions.length), 0);
    const rowBytes = cache.bytesFull / heads.length / rowsAllocated(TOKENS.length);
    expect(cache.bytes).toBe(rows * rowBytes + waiting * 4 * model.config.d_model);
    const { cache: all } = await lazily({ layers: [1], percentiles: [70] });
    expect(all.read).toBeGreaterThan(0.3);
    expect(all.read).toBeLessThan(1);
  });

  it("chooses for each of several prompts what it chooses for it alone", async () => {
    const prompts = [TOKENS, TOKENS.slice(0, 30), [...TOKENS.slice(0, 30), 3, 4]];
    const all = { policies: [{ name: "lazyllm", params: { ratio: 0.7 } }], stop: [] };
    const before = tf.memory().numTensors;
    const together = await generateBatch(model, { ...all, prompts: prompts.map((tokens, i) => ({ tokens, maxTokens: 5 - i })) }); // biome-ignore format: one call
    for (const [i, tokens] of prompts.entries()) {
      const alone = await generate(model, { ...all, tokens, maxTokens: 5 - i });
      expect(together[i]!.ids).toEqual(alone.ids);
      expect(together[i]!.cache).toEqual(alone.cache);
    }
    expect(tf.memory().numTensors).toBe(before);
  });

  it("frees everything where a run is cancelled between layers", async () => {
    const before = tf.memory().numTensors;
    const controller = new AbortController();
    let layers = 0;
    const forward = { onLayer: () => void (++layers === 8 && controller.abort(new Error("enough"))) };
    await expect(lazily({ ratio: 0.7 }, { forward, signal: controller.signal })).rejects.toThrow("enough");
    expect(tf.memory().numTensors).toBe(before);
  });

  it("is refused, with the reason, where it can't be", async () => {
    const prefix = await readPrefix(model, { tokens: TOKENS });
    const refusals: [Promise<unknown>, string | string[]][] = [
      [lazily({ layers: [3] }), "layers"],
      [lazily({ layers: [2, 1] }), "layers"],
      [lazily({ layers: [1, 2], percentiles: [50] }), ["layers", "percentiles"]],
      [lazily({ percentiles: [50], ratio: 0.5 }), ["percentiles", "ratio"]],
      [lazily({}, { prefix }), ["policies", "prefix"]],
      [lazily({}, { keep: true }), ["policies", "keep"]],
      [lazily({}, { forward: { names: ["blocks.0.attn.hook_z"] } }), ["policies", "forward"]],
      [lazily({}, { interventions: [{ at: "blocks.0.attn.hook_z", do: "zero", heads: [0] }] }), ["policies", "interventions"]], // biome-ignore format: one line
      [readPrefix(model, { tokens: TOKENS, policies: [{ name: "lazyllm" }] }), ["policies", "prefix"]],
      ...["tova", "quest", "think"].map((name): [Promise<unknown>, string] => [
        lazily({}, { policies: [{ name: "lazyllm" }, { name }] }),
        "policies",
      ]),
    ];
    for (const [run, field] of refusals) expect(await errorOf(run)).toEqual(refused("usage", { field }));
    prefix.dispose();
    expect(await errorOf(lazily({}, { useCache: false }))).toEqual(refused("usage"));
  });
});
