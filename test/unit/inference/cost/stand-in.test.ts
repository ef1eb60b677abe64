import { describe, expect, it } from "vitest";
import { measurable, measureWork } from "../../../../backend/inference/cost/own-work.ts";
import { fillCache, standIn } from "../../../../backend/inference/cost/stand-in.ts";
import { choosePolicies, type PolicyRequest } from "../../../../backend/inference/policies/choice.ts";
import type { PackedMatrix } from "../../../../backend/kernels/packed-matrix.ts";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";

const CONFIG: ModelConfig = {
  n_layers: 12,
  n_heads: 4,
  n_key_value_heads: 2,
  d_model: 64,
  d_head: 16,
  d_mlp: 96,
  n_ctx: 128,
  d_vocab: 80,
  act_fn: "silu",
  gated_mlp: true,
  attn_only: false,
  normalization_type: "RMS",
  eps: 1e-5,
  final_norm: true,
  positional_embedding_type: "rotary",
  rotary_base: 10_000,
  rotary_dim: 16,
  tie_word_embeddings: true,
  window_size: 8,
  attn_scale: 0.25,
};
const { ready: kernels } = await kernelsHere();

const choice = (...requests: PolicyRequest[]) => choosePolicies(requests);

describe.runIf(kernels)("a stand-in", () => {
  it("has another's shapes in its forms, as many layers as are asked for, and all of them reach everything", () => {
    const model = standIn(CONFIG, { n_layers: 2, n_ctx: 32, vocabulary: 48 }, (name) =>
      name.startsWith("blocks.") ? "q4_1" : "q8_0",
    );
    const { blocks, embed } = model.weights;
    const { qkv, mlpIn } = blocks[1] as { qkv: { packed?: PackedMatrix }; mlpIn: { packed?: PackedMatrix } };
    expect(blocks).toHaveLength(2);
    expect([qkv.packed?.format, qkv.packed?.shape]).toEqual(["q4_1", [128, 64]]);
    expect([mlpIn.packed?.format, mlpIn.packed?.shape]).toEqual(["q4_1", [192, 64]]);
    expect([embed.packed?.format, embed.shape]).toEqual(["q8_0", [48, 64]]);
    const logits = forward(model, { tokens: [Array.from({ length: 20 }, (_, i) => i)] }).logits!;
    expect(logits.shape).toEqual([1, 20, 48]);
    expect(logits.dataSync().every(Number.isFinite)).toBe(true);
    logits.dispose();
    model.dispose();
  });

  it("is run over a cache that is written", () => {
    const cache = new KvCache({ ...CONFIG, n_layers: 1, attn_types: ["global"] }, { capacity: 64 });
    cache.prepare(40);
    cache.advance(40);
    fillCache(cache);
    const { keys, values } = cache.read(0, 0, 1);
    for (const rows of [keys, values]) expect(new Set(rows.dataSync()).size).toBeGreaterThan(600); // of 40 · 16
    cache.dispose();
  });
});

describe("the work of policies", () => {
  it("is measured of what needs no file and spares no operations", async () => {
    const snapkv = { name: "snapkv", params: { ratio: 0.5 } };
    expect(measurable(await choice(snapkv))).toBe(true);
    expect(measurable(await choice(snapkv, { name: "kivi" }))).toBe(true);
    expect(measurable(await choice({ name: "quest", params: { budget: 64 } }))).toBe(true);
    expect(measurable(await choice())).toBe(false);
    expect(measurable(await choice({ name: "minference" }))).toBe(false);
    expect(measurable(await choice(snapkv, { name: "minference" }))).toBe(false);
    expect(measurable(await choice({ name: "lazyllm" }))).toBe(false);
  });

  it.runIf(kernels)("is time, also where a parameter names a layer that some layers do not have", async () => {
    const size = { tokens: 90, newTokens: 4, cache: "f32" } as const;
    for (const params of [{ budget: 48 }, { budget: 48, dense: 11 }]) {
      const reads = await choice({ name: "quest", params });
      const work = await measureWork({ ...CONFIG, n_ctx: 128 }, reads, size, 48 / 90);
      // Choosing takes ops of its own in every layer, beside which a token of this model is next to nothing.
      expect(work.token).toBeGreaterThan(0);
      expect(work.prompt).toBeGreaterThanOrEqual(0);
    }
  });

  it.runIf(kernels)("is none at a token where tokens are chosen at the prompt's end alone", async () => {
    const size = { tokens: 90, newTokens: 4, cache: "f32" } as const;
    const snapkv = { name: "snapkv", params: { budget: 80 } };
    const tova = { name: "tova", params: { budget: 80, when: "decode" } };
    const [once, always] = [await choice(snapkv), await choice(tova)];
    expect((await measureWork({ ...CONFIG, n_ctx: 128 }, once, size, 80 / 90)).token).toBe(0);
    expect((await measureWork({ ...CONFIG, n_ctx: 128 }, always, size, 80 / 90)).token).toBeGreaterThan(0);
  });

  it("ends where it is cancelled", async () => {
    const size = { tokens: 48, newTokens: 4, cache: "f32", signal: AbortSignal.abort() } as const;
    const work = measureWork(CONFIG, await choice({ name: "snapkv", params: { ratio: 0.5 } }), size, 0.5);
    await expect(work).rejects.toThrow(/abort/i);
  });
});
