import { afterAll, describe, expect, it } from "vitest";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { describeCheckpoint, readPart } from "../../../../backend/models/families/index.ts";
import type { Checkpoint, TensorInfo } from "../../../../backend/models/formats/checkpoint.ts";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import { failure } from "../../../helpers/errors.ts";
import { fixture } from "../../../helpers/fixtures.ts";

const NAMES = {
  families: ["gpt2", "gpt_neo", "gpt_neox", "opt", "llama-gqa", "mistral-window", "qwen2", "qwen3", "gemma2", "phi3"],
  "families-extra": ["gemma3", "llama-yarn", "phi3-partial", "qwen3-window", "gpt_neox-serial"],
};
const open = Object.entries(NAMES).flatMap(([folder, names]) =>
  names.map(async (name) => {
    const path = fixture(`${folder}/${name}`);
    return [name, await openCheckpoint(path)] as const;
  }),
);
const checkpoints = Object.fromEntries(await Promise.all(open));
afterAll(async () => void (await Promise.all(Object.values(checkpoints).map((checkpoint) => checkpoint.close()))));

type Tensors = Checkpoint["tensors"];
type Entries = Iterable<[string, TensorInfo]>;

/** A checkpoint with other fields in its config.json (undefined leaves one out) and other tensors. */
function changed(name: string, fields: object, tensors: (all: Tensors) => Entries = (all) => all): Checkpoint {
  const checkpoint = checkpoints[name]!;
  const config = { ...(checkpoint.metadata["config"] as object), ...fields };
  return { ...checkpoint, metadata: { ...checkpoint.metadata, config }, tensors: new Map(tensors(checkpoint.tensors)) };
}
const without = (pattern: RegExp) => (all: Tensors) => [...all].filter(([name]) => !pattern.test(name));
const extra =
  (name: string, shape: number[]) =>
  (all: Tensors): Entries => [...all, [name, { name, shape, type: "F32", bytes: 4 }]];
const configOf = (name: string, fields: Record<string, unknown> = {}): ModelConfig =>
  describeCheckpoint(changed(name, fields)).config;
const renamed =
  (rename: (name: string) => string) =>
  (all: Tensors): Entries =>
    [...all].map(([name, tensor]) => [rename(name), { ...tensor, name: rename(name) }]);

describe("config.json", () => {
  it("says the same of rotation as transformers 4 and 5 write it", () => {
    expect(
      configOf("gemma3", {
        rope_theta: undefined,
        rope_local_base_freq: undefined,
        rope_scaling: undefined,
        rope_parameters: {
          full_attention: { rope_type: "linear", factor: 8, rope_theta: 1e6 },
          sliding_attention: { rope_type: "default", rope_theta: 10000 },
        },
      }),
    ).toEqual(configOf("gemma3"));
    expect(
      configOf("llama-yarn", {
        rope_theta: undefined,
        rope_scaling: undefined,
        rope_parameters: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 32, rope_theta: 10000 },
      }),
    ).toEqual(configOf("llama-yarn"));
    const older = { rope_parameters: undefined, rotary_pct: 0.25, rotary_emb_base: 10000 };
    expect(configOf("gpt_neox", older)).toEqual(configOf("gpt_neox"));
    expect(configOf("phi3-partial").rotary_dim).toBe(4);
  });

  it("takes YaRN's attention factor from factor or mscales where it is not given", () => {
    const yarn = (more: object) =>
      configOf("llama-yarn", { rope_scaling: { rope_type: "yarn", factor: 4, ...more } }).rotary_scaling;
    expect(yarn({})).toMatchObject({ attention_factor: 0.1 * Math.log(4) + 1, original_context: 128, truncate: true });
    expect(yarn({ attention_factor: 1.5, original_max_position_embeddings: 16 })).toMatchObject({
      attention_factor: 1.5,
      original_context: 16,
      beta_fast: 32,
      beta_slow: 1,
    });
  });

  it("takes YaRN's factor from the ratio of the lengths where the config has none, as transformers does", () => {
    const yarn = (more: object) =>
      configOf("llama-yarn", { rope_scaling: { rope_type: "yarn", original_max_position_embeddings: 16, ...more } });
    for (const more of [{ factor: null }, {}])
      expect(yarn(more).rotary_scaling).toEqual(yarn({ factor: 128 / 16 }).rotary_scaling);
    const neither = changed("llama-yarn", { rope_scaling: { rope_type: "yarn" } });
    expect(() => describeCheckpoint(neither)).toThrow(expect.objectContaining({ kind: "missing" }));
  });

  it("names local layers only where their window is shorter than the context", () => {
    const windows = (name: string, fields: Record<string, unknown> = {}) => {
      const { window_size, attn_types } = configOf(name, fields);
      return [window_size, attn_types?.map((type) => type[0]).join("")];
    };
    expect(windows("mistral-window")).toEqual([8, "ll"]);
    expect(windows("mistral-window", { sliding_window: null })).toEqual([undefined, undefined]);
    // Absent, it is 4096, transformers' default, and here longer than the context.
    expect(windows("mistral-window", { sliding_window: undefined })).toEqual([undefined, undefined]);
    expect(windows("mistral-window", { sliding_window: undefined, max_position_embeddings: 8192 })).toEqual([
      4096,
      "ll",
    ]);
    expect(windows("qwen2", { sliding_window: 8, max_window_layers: 1 })).toEqual([undefined, undefined]);
    const on = { use_sliding_window: true, sliding_window: 8, max_window_layers: 1, layer_types: undefined };
    expect(windows("qwen2", on)).toEqual([8, "gl"]);
    expect(windows("qwen3-window")).toEqual([6, "gl"]);
    expect(windows("gemma2", { layer_types: undefined })).toEqual([8, "lg"]);
    expect(windows("gemma3", { layer_types: undefined })).toEqual([6, "lll"]);
    expect(windows("gemma3", { layer_types: undefined, sliding_window_pattern: 2 })).toEqual([6, "lgl"]);
    const repeated = { attention_layers: undefined, attention_types: [[["local", "global"], 1]] };
    expect(windows("gpt_neo", repeated)).toEqual([8, "lg"]);
  });

  it("defaults are those of the family's class", () => {
    const silent = { tie_word_embeddings: undefined };
    const tied = ["gpt2", "gpt_neo", "opt", "gemma2", "gemma3"];
    for (const name of tied) expect(configOf(name, silent).tie_word_embeddings, name).toBe(true);
    for (const name of ["llama-gqa", "gpt_neox", "phi3"])
      expect(configOf(name, silent).tie_word_embeddings, name).toBe(false);
    expect(configOf("gpt2", { n_inner: undefined, activation_function: undefined })).toEqual(configOf("gpt2"));
    expect(configOf("gpt2", { scale_attn_weights: false }).attn_scale).toBe(1);
    expect(configOf("gpt_neox-serial").parallel_attn_mlp).toBeUndefined();
  });
});

describe("tensor names", () => {
  it("may lack the prefix, and buffers of old checkpoints are left unread", async () => {
    for (const [name, prefix] of [
      ["gpt2", "transformer."],
      ["gpt_neo", "transformer."],
      ["opt", "model."],
      ["gpt_neox", "gpt_neox."],
    ] as const) {
      const bare = changed(
        name,
        {},
        renamed((tensor) => tensor.replace(prefix, "")),
      );
      const parts = describeCheckpoint(bare).parts;
      const usual = describeCheckpoint(checkpoints[name]!).parts;
      expect(Object.keys(parts)).toEqual(Object.keys(usual));
      expect(parts["embed"]![0]!.tensor).toBe(usual["embed"]![0]!.tensor.replace(prefix, ""));
    }
    describeCheckpoint(changed("gpt2", {}, extra("transformer.h.0.attn.bias", [1, 1, 64, 64])));
  });

  it("may have the unembedding of a tied model once more", () => {
    const { config, parts } = describeCheckpoint(changed("qwen2", {}, extra("lm_head.weight", [97, 32])));
    expect(config.tie_word_embeddings).toBe(true);
    expect(parts["unembed"]).toBeUndefined();
  });

  it("GPT-NeoX's fused rows come apart into queries, keys and values", async () => {
    const checkpoint = checkpoints["gpt_neox"]!;
    const { parts } = describeCheckpoint(checkpoint);
    const bias = await readPart(checkpoint, parts["blocks.1.attn.qkv_bias"]!);
    const fused = await checkpoint.read("gpt_neox.layers.1.attention.query_key_value.bias"); // [4 heads, 3, 8]
    expect([...bias.subarray(32, 40)]).toEqual([...fused.subarray(8, 16)]); // the key of head 0
    expect([...bias.subarray(88, 96)]).toEqual([...fused.subarray(88, 96)]); // the value of head 3
  });

  it("an untied OPT without its final norm has an unembedding and none", () => {
    const tensors = (all: Tensors) =>
      extra("lm_head.weight", [97, 32])(new Map(without(/decoder\.final_layer_norm/)(all)));
    const fields = { _remove_final_layer_norm: true, tie_word_embeddings: false };
    const { config, parts } = describeCheckpoint(changed("opt", fields, tensors));
    expect(config.final_norm).toBe(false);
    expect(parts["ln_final.w"]).toBeUndefined();
    expect(parts["unembed"]![0]!.tensor).toBe("lm_head.weight");
  });
});

describe("refused with file, field or tensor, expected and found", () => {
  const cases: [string, Checkpoint, string, RegExp][] = [
    ["a mixture of experts by class", changed("mistral-window", { architectures: ["MixtralForCausalLM"] }), "unsupported", /architecture "MixtralForCausalLM"; supported are /],
    ["a mixture of experts by field", changed("qwen3", { num_experts: 8 }), "unsupported", /a mixture of experts \(config\.json's num_experts\)/],
    ["quantised weights", changed("llama-gqa", { quantization_config: { quant_method: "gptq", bits: 4 } }), "unsupported", /quantization_config\.quant_method is "gptq"; headscope does weights in F32/],
    ["weights in 8 bits", changed("llama-gqa", {}, (all) => [...all].map(([name, tensor]) => [name, { ...tensor, type: "F8_E4M3" }])), "unsupported", /"model\.embed_tokens\.weight" is F8_E4M3; expected F64, F32, F16, BF16/],
    ["long rope", changed("phi3", { rope_parameters: undefined, rope_scaling: { type: "longrope", long_factor: [1] } }), "unsupported", /rope_scaling\.type is "longrope"; headscope does default/],
    ["a rope type that is no text", changed("llama-gqa", { rope_parameters: { rope_type: 3 } }), "corrupt", /rope_parameters\.rope_type is 3; expected a text/],
    ["a rope that is no object", changed("llama-gqa", { rope_parameters: "yarn" }), "corrupt", /rope_parameters is "yarn"; expected an object/],
    ["a query/key norm that the family lacks", changed("llama-gqa", {}, extra("model.layers.0.self_attn.q_norm.weight", [8])), "mismatch", /tensor "model\.layers\.0\.self_attn\.q_norm\.weight" has no place/],
    ["a missing query/key norm", changed("qwen3", {}, without(/1\.self_attn\.k_norm/)), "missing", /holds no tensor "model\.layers\.1\.self_attn\.k_norm\.weight"/],
    ["missing biases", changed("qwen2", {}, without(/bias$/)), "missing", /holds no tensor "model\.layers\.0\.self_attn\.q_proj\.bias"/],
    ["biases that the config says and the weights lack", changed("llama-gqa", { attention_bias: true }), "missing", /holds no tensor "model\.layers\.0\.self_attn\.q_proj\.bias"/],
    ["layers that the weights lack", changed("gpt2", { n_layer: 3 }), "mismatch", /says 3 layers, and its tensors make 2/],
    ["layers that the config lacks", changed("opt", { num_hidden_layers: 1 }), "mismatch", /says 1 layers, and its tensors make 2/],
    ["another width", changed("gpt_neo", { hidden_size: 16 }), "mismatch", /"transformer\.wte\.weight" is \[97, 32\], and the config expects \[97, 16\]/],
    ["heads that don't divide the width", changed("gpt2", { n_head: 5 }), "mismatch", /32 dimensions do not divide into 5 heads/],
    ["heads of a Llama that don't", changed("llama-gqa", { head_dim: undefined, num_attention_heads: 6 }), "mismatch", /32 dimensions do not divide into 6 heads/],
    ["an odd rotation", changed("gpt_neox", { rope_parameters: { partial_rotary_factor: 0.4 } }), "mismatch", /3 of a head's 8 dimensions can't be rotated/],
    ["a rotation wider than the head", changed("phi3", { rope_parameters: { partial_rotary_factor: 2 } }), "mismatch", /a head of 8 dimensions can't have 16/],
    ["another kind of layer", changed("gemma2", { layer_types: ["chunked_attention", "full_attention"] }), "unsupported", /layer_types is \["chunked_attention",.*headscope does sliding_attention and full_attention/],
    ["too few kinds of layers", changed("gemma2", { layer_types: ["full_attention"] }), "corrupt", /layer_types is \["full_attention"\]; expected a list of 2 texts/],
    ["too many repetitions", changed("gpt_neo", { attention_layers: undefined, attention_types: [[["local"], 2 ** 40]] }), "unsupported", /attention_types is \[\[\["local"\],1099511627776\]\]; headscope does/],
    ["post norms in OPT", changed("opt", { do_layer_norm_before: false }), "unsupported", /do_layer_norm_before is false; headscope does true/],
    ["a projected embedding", changed("opt", { word_embed_proj_dim: 16 }), "unsupported", /word_embed_proj_dim is 16/],
    ["bidirectional attention", changed("gemma3", { use_bidirectional_attention: true }), "unsupported", /attention to later tokens/],
    ["scores scaled by layer", changed("gpt2", { scale_attn_by_inverse_layer_idx: true }), "unsupported", /a scale of scores by layer/],
    ["a flag that is no flag", changed("gpt_neox", { use_parallel_residual: "yes" }), "corrupt", /use_parallel_residual is "yes"; expected true or false/],
  ]; // biome-ignore format: a table
  it.each(cases)("%s", async (_, checkpoint, kind, message) => {
    const error = await failure(() => describeCheckpoint(checkpoint));
    expect(error.line).toMatch(message);
    expect(error.message).toContain(checkpoint.path);
    expect(error.kind).toBe(kind);
  });
});
