import { describe, expect, it, test } from "vitest";
import type { HeadMask } from "../../../../backend/common/heads/mask.ts";
import { type CostOptions, predictCosts } from "../../../../backend/inference/cost/costs.ts";
import { DEVICES, type Device } from "../../../../backend/inference/cost/devices.ts";
import { footprint } from "../../../../backend/inference/cost/footprint.ts";
import { predict } from "../../../../backend/inference/cost/predict.ts";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { errorOf, refused } from "../../../helpers/errors.ts";

/** Yi-34B 200K, the example of Fu 2024: 60 layers of 56 heads on 8 KV heads of 128, bfloat16. */
const YI: ModelConfig = {
  n_layers: 60,
  n_heads: 56,
  n_key_value_heads: 8,
  d_model: 7168,
  d_head: 128,
  d_mlp: 20_480,
  n_ctx: 200_000,
  d_vocab: 64_000,
  act_fn: "silu",
  gated_mlp: true,
  attn_only: false,
  normalization_type: "RMS",
  eps: 1e-5,
  final_norm: true,
  positional_embedding_type: "rotary",
  rotary_base: 5_000_000,
  rotary_dim: 128,
  tie_word_embeddings: false,
  attn_scale: 128 ** -0.5,
};
/** Matrices and the two norms of a layer: 7168 · (56 + 16) · 128, 56 · 128 · 7168, 3 · 7168 · 20480, 2 · 7168. */
const LAYER = 66_060_288 + 51_380_224 + 440_401_920 + 14_336;
/** 60 layers, embedding and unembedding of 64000 by 7168, the last norm. */
const PARAMETERS = 60 * LAYER + 2 * 458_752_000 + 7168;
const yi = { config: YI, parameters: PARAMETERS, weightBytes: 2 * PARAMETERS, narrow: false };
const a100 = device("a100");

function device(name: string): Device {
  return DEVICES.find((each) => each.name === name)!;
}

function costOf(on: Device, tokens: number, newTokens = 2) {
  const size = { tokens, newTokens, cache: "f16" as const };
  const held = footprint({}, YI, size);
  return { held, ...predict(yi, on, { ...size, held }) };
}

describe("Yi-34B on an A100, by hand", () => {
  it("holds 240 KiB of keys and values a token: 2 · 60 layers · 8 heads · 128 numbers · 2 bytes", () => {
    expect(costOf(a100, 1000).held.bytesPerToken).toBe(245_760);
  });

  it("takes 24.6 GB for 100,000 tokens, of which none fits beside 69 GB of weights, and two on an H200", () => {
    const cost = costOf(a100, 99_999);
    expect(cost.cacheBytes).toBe(24_576_000_000);
    expect(2 * PARAMETERS).toBe(68_777_834_496);
    expect(cost.concurrency).toBe(0); // (80 - 68.78) / 24.58
    expect(cost.throughput).toBe(0);
    expect(costOf(device("h200"), 99_999).concurrency).toBe(2); // (141 - 68.78) / 24.58 = 2.94
  });

  it("reads a prompt in the time of its operations", () => {
    const T = 50_000;
    const products = 2 * T * 60 * LAYER + 2 * 458_752_000;
    const attention = 4 * 128 * 56 * 60 * ((T * (T + 1)) / 2);
    const { prefill } = costOf(a100, T);
    expect(prefill.flops).toBeCloseTo(products + attention, -6);
    expect(prefill.seconds).toBeCloseTo((products + attention) / 312e12, 9); // 17.6 s
    expect(prefill.seconds).toBeGreaterThan(17);
  });

  it("decodes a token in the time of its bytes: the weights without the embedding, keys and values", () => {
    const { decode } = costOf(a100, 50_000);
    const bytes = 2 * (60 * LAYER + 458_752_000) + 50_001 * 245_760;
    expect(decode.bytes / bytes).toBeCloseTo(1, 12);
    expect(decode.seconds).toBeCloseTo(bytes / 2.039e12, 9); // 39 ms
  });

  it("moves a request over the link at the link's speed, and so every token of an offloaded one", () => {
    const cost = costOf(a100, 51_199);
    expect(cost.contextSwitch).toEqual({ bytes: 12_582_912_000, seconds: 12.582912 / 32 });
    const weights = 2 * (60 * LAYER + 458_752_000);
    expect(cost.offload.bytes).toBe(51_200 * 245_760);
    expect(cost.offload.seconds).toBeCloseTo(weights / 2.039e12 + 12.582912 / 32, 9);
  });
});

test("weights beyond a device's memory are fetched for every token, as in LLM in a flash", () => {
  const pi = device("raspberry-pi-5");
  const { offload, concurrency } = costOf(pi, 1000);
  const read = 2 * (60 * LAYER + 458_752_000);
  const excess = 2 * PARAMETERS - 8e9;
  expect(concurrency).toBe(0);
  expect(offload.bytes).toBeCloseTo(excess + 1001 * 245_760, 3);
  expect(offload.seconds).toBeCloseTo((read - excess) / 17.1e9 + (excess + 1001 * 245_760) / 0.5e9, 6);
});

test("as many requests as fit share one look at the weights, until their operations take longer", () => {
  const h200 = device("h200");
  const { concurrency, throughput, held } = costOf(h200, 10_000);
  const weights = (2 * (60 * LAYER + 458_752_000)) / 4.8e12;
  const memory = weights + (concurrency * held.readBytes) / 4.8e12;
  expect(concurrency).toBeGreaterThan(20);
  expect(throughput).toBeCloseTo(concurrency / memory, 6);
  const tiny = { ...h200, rates: { ...h200.rates, products: 1e12 } };
  const operations = (2 * concurrency * (60 * LAYER + 458_752_000)) / 1e12;
  expect(costOf(tiny, 10_000).throughput).toBeCloseTo(concurrency / (operations + memory - weights), 6);
});

describe("a footprint", () => {
  const config: ModelConfig = { ...YI, n_layers: 2, n_heads: 4, n_key_value_heads: 2, d_head: 16 };
  const rowBytes = 2 * 16 * 4; // a key and a value in float32
  const size = { tokens: 1000, newTokens: 25, cache: "f32" as const };
  const full = footprint({}, config, size);
  const mask: HeadMask = {
    format: "headscope.head-mask/1",
    model: { ref: "tiny", layers: 2, heads: 4, kvHeads: 2 },
    kvHeads: [
      ["retrieval", "streaming"],
      ["streaming", "streaming"],
    ],
    sink: 4,
    recent: 60,
    source: "user",
  };
  const causal = (1000 * 1001) / 2;
  const windowed = (64 * 65) / 2 + 936 * 64;

  it("of full attention has every token, and half of the pairs", () => {
    expect(full).toEqual({
      bytesPerToken: 4 * rowBytes,
      bytes: 4 * 1024 * rowBytes, // whole pages of 128
      peakBytes: 4 * 1024 * rowBytes,
      readBytes: 4 * 1012.5 * rowBytes,
      pairs: 2 * 4 * causal,
      undecided: [],
    });
  });

  it("of streaming heads has their windows, in the prompt too unless it is read densely", () => {
    const heads = { mask, prefill: "masked", once: false } as const;
    const held = footprint({ heads }, config, size);
    expect(held.bytes).toBe((1024 + 3 * 64) * rowBytes);
    expect(held.readBytes).toBe((1012.5 + 3 * 64) * rowBytes);
    expect(held.pairs).toBe(2 * (causal + 3 * windowed));
    expect(footprint({ heads: { ...heads, prefill: "dense" } }, config, size).pairs).toBe(full.pairs);
    // Cut once, the windows grow by the new tokens.
    const once = footprint({ heads: { mask, prefill: "dense", once: true } }, config, size);
    expect(once.readBytes).toBe((1012.5 + 3 * (64 + 12.5)) * rowBytes);
  });

  it("of local layers has no pair beyond their reach", () => {
    const local = footprint({}, { ...config, window_size: 64, attn_types: ["local", "global"] }, size);
    expect(local.pairs).toBe(4 * (windowed + causal));
    expect(local.readBytes).toBe(2 * (64 + 1012.5) * rowBytes);
    expect(local.bytes).toBe(full.bytes);
  });
});

describe("options of predictCosts that can't be", () => {
  it.each([
    ["no lengths", {}, "tokens"],
    ["a length that is no list", { tokens: 32 }, "tokens"],
    ["an empty list of lengths", { tokens: [] }, "tokens"],
    ["policies that are no combinations", { tokens: [32], policies: [{ name: "tova" }] }, "policies"],
    ["devices that are no list", { tokens: [32], devices: "a100" }, "devices"],
    ["weights of no form", { tokens: [32], weights: "q9" }, "weights"],
    ["a cache of no form", { tokens: [32], cache: "q9" }, "cache"],
  ])("are refused before a model is looked for: %s", async (_, options, field) => {
    const error = await errorOf(predictCosts("no-such-model", options as unknown as CostOptions));
    expect(error).toEqual(refused("usage", { field }));
  });
});
