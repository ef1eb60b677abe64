import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate, readPrefix } from "../../../../../backend/inference/generate.ts";
import { gemfilter } from "../../../../../backend/inference/policies/inputs/gemfilter.ts";
import type { LayerView } from "../../../../../backend/inference/policies/kinds/tokens.ts";
import { forward } from "../../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { errorOf, refused } from "../../../../helpers/errors.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";
import { drawnInput, policyDefinitions } from "../../../../helpers/oracles/policies.ts";

await kernelsHere();
const TOKENS = randomTokens(1, 40, 96, 5)[0]!;
let model: Model;
beforeAll(() => {
  model = randomModel(smallConfig());
});
afterAll(() => model.dispose());

const kept = async (params: Record<string, unknown>, more: object = {}) => {
  const policies = [{ name: "gemfilter", params }];
  return (await generate(model, { tokens: TOKENS, policies, maxTokens: 1, ...more })).cache.kept![0]![0]!;
};

describe("gemfilter", () => {
  it("chooses what a NumPy program of its definition chooses", () => {
    const { seed, sections } = policyDefinitions();
    const { inputs, parameters, kept: expected } = sections["gemfilter"]!;
    const [queries, keys, values] = ["q", "k", "v"].map((name) =>
      tf.tensor([...drawnInput(inputs[name]!, seed)], inputs[name]!.shape),
    ) as [Tensor, Tensor, Tensor];
    const [heads, tokens, width] = queries.shape as [number, number, number];
    const kvHeads = keys.shape[0]!;
    const config = smallConfig({
      n_heads: heads,
      n_key_value_heads: kvHeads,
      d_head: width,
      attn_scale: width ** -0.5,
    });
    const view: LayerView = {
      ...{ config, layer: 0, prompt: tokens, length: tokens, kvHeads, held: tokens, step: 0, steps: 0 },
      ...{ keys, values, plainKeys: keys, stream: keys, prepared: undefined },
      queries: tf.slice(queries, [0, tokens - 1, 0], [heads, 1, width]),
      positions: tf.tile(tf.expandDims(tf.range(0, tokens), 0), [kvHeads, 1]),
    };
    expect(gemfilter.choose(view, (parameters as { budget: number }).budget, { layer: undefined })).toEqual(expected);
  });

  it("chooses by the pattern of the layer that is said, by default 13 of 32", async () => {
    for (const layer of [1, 2]) {
      const name = `blocks.${layer - 1}.attn.hook_pattern`;
      const { activations, dispose } = forward(model, { tokens: [TOKENS], logitsAt: "none" }, { names: [name] });
      const pattern = activations.get(name)!.arraySync() as number[][][][];
      dispose();
      const votes = TOKENS.map((_, key) => pattern[0]!.reduce((sum, head) => sum + head.at(-1)![key]!, 0));
      const best = votes.map((vote, key) => [vote, key] as const).slice(0, -1).toSorted((a, b) => b[0] - a[0]); // biome-ignore format: one line
      const expected = [...best.slice(0, 11).map(([, key]) => key), 39].toSorted((a, b) => a - b);
      expect(await kept({ budget: 12, layer })).toEqual(expected);
      if (layer === 1) expect(await kept({ budget: 12 })).toEqual(expected); // round(3 · 13 / 32)
    }
  });

  it("goes together with a policy for tokens, and is read on from where it is kept", async () => {
    const policies = [
      { name: "gemfilter", params: { budget: 20 } },
      { name: "tova", params: { budget: 8 } },
    ];
    const filtered = await kept({ budget: 20 });
    const both = await generate(model, { tokens: TOKENS, policies, maxTokens: 1, keep: true });
    for (const positions of both.cache.kept!.flat()) {
      expect(positions.length).toBe(8);
      expect(positions.every((p) => filtered.includes(p))).toBe(true);
    }
    const on = await generate(model, { prefix: both.prefix!, tokens: [3, 4], maxTokens: 2, stop: [] });
    expect(on.cache.kept![1]![0]!.slice(-3)).toEqual([40, 41, 42]);
    both.prefix!.dispose();
  });

  it("is refused, with the reason, where it can't be", async () => {
    expect(await errorOf(kept({ budget: 12, layer: 4 }))).toEqual(
      refused("usage", { field: "layer", message: "3 layers" }),
    );
    expect(await errorOf(kept({}, { useCache: false }))).toEqual(refused("usage"));
    const prefix = await readPrefix(model, { tokens: TOKENS });
    expect(await errorOf(kept({}, { prefix }))).toEqual(refused("usage", { field: ["policies", "prefix"] }));
    prefix.dispose();
    const ablated = [{ at: "blocks.0.attn.hook_z", do: "zero", heads: [0] }];
    expect(await errorOf(kept({}, { interventions: ablated }))).toEqual(
      refused("usage", { field: ["policies", "interventions"] }),
    );
  });
});
