import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { describeCheckpoint, familyOf } from "../../../../backend/models/families/index.ts";
import type { Checkpoint } from "../../../../backend/models/formats/checkpoint.ts";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import { failure } from "../../../helpers/errors.ts";
import { fixture } from "../../../helpers/fixtures.ts";

const FOLDER = fixture("families-gguf");
const open = new Map<string, Checkpoint>();
for (const name of [
  "llama-gqa",
  "llama3-rope",
  "llama-linear-biased",
  "gemma2",
  "gemma3",
  "gpt_neox",
  "olmo2",
  "phi3",
  "qwen2",
]) {
  open.set(name, await openCheckpoint(join(FOLDER, `${name}.gguf`)));
}
afterAll(() => Promise.all([...open.values()].map((checkpoint) => checkpoint.close())));

/** A fixture whose metadata say something else; undefined takes a key away. */
function changed(name: string, metadata: Record<string, unknown>): Checkpoint {
  const checkpoint = open.get(name)!;
  return { ...checkpoint, metadata: { ...checkpoint.metadata, ...metadata } };
}
const configOf = (name: string, metadata: Record<string, unknown> = {}) =>
  describeCheckpoint(changed(name, metadata)).config;
const scaling = (values: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(values).map(([key, value]) => [`llama.rope.scaling.${key}`, value]));

describe("GGUF metadata", () => {
  it("gives the rotation's scaling: linear under both its names, YaRN with llama.cpp's defaults", () => {
    const linear = { type: "linear", factor: 4 };
    expect(configOf("llama-gqa", scaling({ type: "linear", factor: 4 })).rotary_scaling).toEqual(linear);
    expect(configOf("llama-gqa", { "llama.rope.scale_linear": 4 }).rotary_scaling).toEqual(linear);
    expect(configOf("llama-gqa", scaling({ type: "none" })).rotary_scaling).toBeUndefined();
    const yarn = scaling({ type: "yarn", factor: 4, original_context_length: 32 });
    expect(configOf("llama-gqa", yarn).rotary_scaling).toMatchObject({
      type: "yarn",
      factor: 4,
      original_context: 32,
      beta_fast: 32,
      beta_slow: 1,
    });
  });

  it("knows Llama 3's rule by its divisors, and keeps divisors of no rule", () => {
    const rule = { type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_context: 32 };
    expect(configOf("llama3-rope").rotary_scaling).toEqual(rule);
    const own = { "rope_freqs.weight": Float32Array.of(1, 2, 5, 8) };
    expect(configOf("llama3-rope", own).rotary_scaling).toEqual({ type: "factors", factors: [1, 2, 5, 8] });
    const { side } = familyOf(open.get("llama3-rope")!);
    expect(side.configJson(open.get("llama3-rope")!)["rope_scaling"]).toEqual({
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 32,
    });
  });

  it("says how Gemma's scores are scaled by the number of layers only, as llama.cpp does", () => {
    expect(configOf("gemma2").attn_scale).toBe(16 ** -0.5);
    expect(configOf("gemma2")).toMatchObject({ attn_scores_soft_cap: 50, output_logits_soft_cap: 30, window_size: 8 });
    const silent = { "gemma2.attn_logit_softcapping": undefined, "gemma2.attention.sliding_window": undefined };
    expect(configOf("gemma2", silent)).toMatchObject({ attn_scores_soft_cap: 50 });
    expect(configOf("gemma2", silent).window_size).toBeUndefined(); // 4,096 is past the context
  });

  it("gives Gemma 3 a rotation of its own for local layers, each sixth layer being global", () => {
    expect(configOf("gemma3")).toMatchObject({ rotary_base: 1e6, qk_norm: "head" });
    expect(configOf("gemma3", { "gemma3.rope.freq_base_swa": 5000 }).rotary_local).toEqual({ base: 5000 });
    expect(configOf("gemma3", { "gemma3.attention.sliding_window_pattern": 2 }).attn_types).toEqual([
      "local",
      "global",
      "local",
    ]);
  });

  it("takes a window of 0 for none, and parallel blocks for granted in GPT-NeoX", () => {
    expect(configOf("phi3", { "phi3.attention.sliding_window": 0 }).window_size).toBeUndefined();
    expect(configOf("phi3", { "phi3.attention.sliding_window": 5 })).toMatchObject({ window_size: 5 });
    expect(configOf("gpt_neox").parallel_attn_mlp).toBe(true);
    expect(configOf("gpt_neox", { "gptneox.use_parallel_residual": false }).parallel_attn_mlp).toBeUndefined();
  });

  const cases: [string, string, Record<string, unknown>, string, RegExp][] = [
    ["LongRoPE", "phi3", { "phi3.rope.scaling.type": "longrope" }, "unsupported", /phi3\.rope\.scaling\.type is "longrope"; headscope does none, linear and yarn/],
    ["an attention factor of YaRN", "llama-gqa", scaling({ type: "yarn", factor: 4, original_context_length: 32, yarn_attn_factor: 2 }), "unsupported", /yarn_attn_factor is 2; headscope does 1/],
    ["YaRN without the context it stretches", "llama-gqa", scaling({ type: "yarn", factor: 4 }), "missing", /llama\.rope\.scaling\.original_context_length is missing/],
    ["OLMo 3 under OLMo 2's name", "olmo2", { "olmo2.attention.sliding_window": 8 }, "unsupported", /OLMo 3's windows/],
    ["values wider than keys", "qwen2", { "qwen2.attention.value_length": 16 }, "unsupported", /values of 16 dimensions beside keys of 8/],
    ["experts", "qwen2", { "qwen2.expert_count": 8 }, "unsupported", /a mixture of experts/],
    ["another number of divisors", "llama3-rope", { "rope_freqs.weight": Float32Array.of(1, 2) }, "mismatch", /rope_freqs\.weight holds 2 divisors; expected 4/],
    ["a divisor of 0", "llama3-rope", { "rope_freqs.weight": Float32Array.of(1, 2, 0, 8) }, "mismatch", /rope_freqs\.weight/],
    ["partial rotation of interleaved rows", "llama-gqa", { "llama.rope.dimension_count": 4 }, "unsupported", /rotation of 4 of a head's 8/],
    ["an architecture that has no GGUF side", "qwen2", { "general.architecture": "opt" }, "unsupported", /architecture "opt"/],
  ]; // biome-ignore format: a table
  it.each(cases)("is refused with %s", async (_, name, metadata, kind, message) => {
    const error = await failure(() => describeCheckpoint(changed(name, metadata)));
    expect(error.line).toMatch(message);
    expect(error.message).toContain(`${name}.gguf`);
    expect(error.kind).toBe(kind);
  });
});
