import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { describeCheckpoint } from "../../../../backend/models/families/index.ts";
import type { Checkpoint, TensorInfo } from "../../../../backend/models/formats/checkpoint.ts";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import { readSafetensors, type SafeTensor } from "../../../../backend/models/formats/safetensors/safetensors.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { inspectModel, loadModel } from "../../../../backend/models/load.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { type Changes, copyOf, removeCopies, writeSafetensors } from "../../../helpers/formats/checkpoint-copy.ts";

removeCopies();

const TIED = "families/gpt2";
const UNTIED = "families/llama-gqa";
const ids = [3, 17, 5, 9, 11];

async function logitsOf(path: string): Promise<number[]> {
  const model = await loadModel(path);
  const { logits, dispose } = forward(model, { tokens: [ids] });
  const values = [...logits!.dataSync()];
  dispose();
  model.dispose();
  return values;
}

const renamed =
  (rename: (name: string) => string) =>
  (own: Record<string, SafeTensor>): Record<string, SafeTensor> =>
    Object.fromEntries(Object.entries(own).map(([name, tensor]) => [rename(name), tensor]));
const added = (more: Record<string, SafeTensor>) => (own: Record<string, SafeTensor>) => ({ ...own, ...more });
const some: SafeTensor = { dtype: "F32", shape: [2], data: Float32Array.of(1, 2) };

describe("is the same model", () => {
  let tied: number[];
  let untied: number[];
  beforeAll(async () => {
    tied = await logitsOf(fixture(TIED));
    untied = await logitsOf(fixture(UNTIED));
  });

  it("saved by safetensors.torch.save_model, which keeps one name of a tied pair and notes the other", async () => {
    const tensors = renamed((name) => (name === "transformer.wte.weight" ? "lm_head.weight" : name));
    const strings = { format: "pt", "transformer.wte.weight": "lm_head.weight" };
    expect(await logitsOf(await copyOf(TIED, { tensors, strings }))).toEqual(tied);
  });

  it("saved so in shards, with the note in the index", async () => {
    const folder = await copyOf(TIED);
    const { tensors } = await readSafetensors(join(folder, "model.safetensors"));
    rmSync(join(folder, "model.safetensors"));
    const own = [...tensors].map(([name, tensor]) => [name.replace("transformer.wte", "lm_head"), tensor] as const);
    const half = Math.ceil(own.length / 2);
    const files = { "model-00001-of-00002.safetensors": own.slice(0, half), "model-00002-of-00002.safetensors": own.slice(half) };
    for (const [file, part] of Object.entries(files)) writeSafetensors(join(folder, file), Object.fromEntries(part));
    const weight_map = Object.fromEntries(Object.entries(files).flatMap(([file, part]) => part.map(([name]) => [name, file])));
    const metadata = { total_size: 1, "transformer.wte.weight": "lm_head.weight" };
    writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify({ metadata, weight_map }));
    expect(await logitsOf(folder)).toEqual(tied);
  }); // biome-ignore format: long lines

  it("saved from AutoModel, under the bare class and without the prefix", async () => {
    const bare = {
      config: { architectures: ["GPT2Model"] },
      tensors: renamed((name) => name.replace("transformer.", "")),
    };
    expect(await logitsOf(await copyOf(TIED, bare))).toEqual(tied);
  });

  it("in double precision", async () => {
    const tensors = (own: Record<string, SafeTensor>) =>
      Object.fromEntries(
        Object.entries(own).map(([name, { shape, data }]): [string, SafeTensor] => [
          name,
          { dtype: "F64", shape, data: Float64Array.from(data as Float32Array) },
        ]),
      );
    expect(await logitsOf(await copyOf(UNTIED, { tensors }))).toEqual(untied);
  });

  it("beside codes of a quantisation that no part reads", async () => {
    const more = { "model.layers.0.mlp.up_proj.weight_scale": { dtype: "U8", shape: [2], data: Uint8Array.of(1, 2) } };
    expect(await logitsOf(await copyOf(UNTIED, { tensors: added(more as Record<string, SafeTensor>) }))).toEqual(
      untied,
    );
  });

  it("with the numbers that Python's json writes and JSON lacks", async () => {
    const folder = await copyOf(UNTIED);
    const text = readFileSync(join(folder, "config.json"), "utf8");
    const odd = '{"limit": Infinity, "floor": -Infinity, "none": [NaN, "NaN, Infinity"], ';
    writeFileSync(join(folder, "config.json"), text.replace("{", odd));
    const checkpoint = await openCheckpoint(folder);
    const config = { limit: Infinity, floor: -Infinity, none: [Number.NaN, "NaN, Infinity"] };
    expect(checkpoint.metadata["config"]).toMatchObject(config);
    await checkpoint.close();
    expect(await logitsOf(folder)).toEqual(untied);
  });
});

it("an untied model saved from AutoModel lacks its head, and is told so", async () => {
  const bare = (own: Record<string, SafeTensor>) => {
    const { "lm_head.weight": _, ...others } = own;
    return renamed((name) => name.replace("model.", ""))(others);
  };
  const folder = await copyOf(UNTIED, { config: { architectures: ["LlamaModel"] }, tensors: bare });
  const error = await inspectModel(folder).catch((caught) => caught);
  expect(error).toMatchObject({ kind: "missing" });
  expect(error.message).toMatch(/lm_head\.weight.*head/);
  expect(error.remedy).toMatch(/AutoModelForCausalLM/);
});

describe("a config that counts other layers than the weights", () => {
  it("is refused with both ways out where it has fewer: whole, or the first layers as a model of their own", async () => {
    const error = await inspectModel(await copyOf(UNTIED, { config: { num_hidden_layers: 1 } })).catch((caught) => caught);
    expect(error).toMatchObject({ kind: "mismatch" });
    expect(error.remedy).toMatch(/num_hidden_layers: 2 .*first layer .*save_pretrained/);
  });

  it("is refused with the weights to fetch where it has more, by the name that the family has for the count", async () => {
    const error = await inspectModel(await copyOf(TIED, { config: { n_layer: 5 } })).catch((caught) => caught);
    expect(error).toMatchObject({ kind: "mismatch" });
    expect(error.remedy).toMatch(/fetch the weights again.*n_layer: 2/);
  });
}); // biome-ignore format: long lines

describe("is recognised, with a remedy of its own", () => {
  const lora = (name: string) => `base_model.model.model.layers.0.self_attn.q_proj.${name}.weight`;
  const headless = (more: Record<string, SafeTensor>) => (own: Record<string, SafeTensor>) => {
    const { "lm_head.weight": _, ...others } = own;
    return { ...others, ...more };
  };
  const LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 269060552\n";
  const cases: [string, RegExp, string, Changes][] = [
    ["a git-lfs pointer for weights", /git-lfs/, UNTIED, { files: { "model.safetensors": LFS } }],
    ["a git-lfs pointer for config.json", /git-lfs/, UNTIED, { files: { "config.json": LFS } }],
    ["a git-lfs pointer for an index", /git-lfs/, "families/qwen2", { files: { "model.safetensors.index.json": LFS } }],
    ["a git-lfs pointer for one part", /git-lfs/, "families/qwen2", { files: { "model-00002-of-00004.safetensors": LFS } }],
    ["a web page", /web page/, UNTIED, { files: { "model.safetensors": "\n<!DOCTYPE html>\n<html><body>Sign in" } }],
    ["an XML error", /web page/, UNTIED, { files: { "model.safetensors": '<?xml version="1.0"?><Error/>' } }],
    ["a LoRA adapter", /LoRA/, UNTIED, { tensors: () => ({ [lora("lora_A")]: some, [lora("lora_B")]: some }) }],
    ["a LoRA adapter of a named kind", /LoRA/, UNTIED, { tensors: () => ({ [lora("lora_A.default")]: some }) }],
    ["MLX's quantised weights", /MLX/, UNTIED, { config: { quantization: { group_size: 64, bits: 4 } } }],
    ["a value head", /value head/, TIED, { tensors: added({ "v_head.summary.weight": some }) }],
    ["a classifier in a language model's place", /classifier/, UNTIED, { tensors: headless({ "score.weight": some }) }],
    ["a classifier with a tied embedding", /classifier/, TIED, { tensors: added({ "score.weight": some }) }],
    ["a classifier by its own name", /classifier/, TIED, { config: { architectures: ["GPT2ForSequenceClassification"] }, tensors: added({ "score.weight": some }) }],
    ["a tagger of tokens", /classifier/, TIED, { tensors: added({ "classifier.weight": some, "classifier.bias": some }) }],
    ["a finder of answers", /classifier/, UNTIED, { tensors: headless({ "qa_outputs.weight": some }) }],
    ["a language model with a head of labels beside its own", /second head/, UNTIED, { tensors: added({ "score.weight": some }) }],
    ["a compiled module", /_orig_mod/, UNTIED, { tensors: renamed((name) => `_orig_mod.${name}`) }],
    ["a module with compiled layers", /_orig_mod/, UNTIED, { tensors: renamed((name) => name.replace(/layers\.\d+\./, "$&_orig_mod.")) }],
    ["a compiled module in a wrapper", /_orig_mod/, UNTIED, { tensors: renamed((name) => `module._orig_mod.${name}`) }],
    ["a wrapped module", /module\./, UNTIED, { tensors: renamed((name) => `module.${name}`) }],
    ["a sharded module", /_fsdp_wrapped_module/, UNTIED, { tensors: renamed((name) => `_fsdp_wrapped_module.${name}`) }],
    ["peft's wrapper", /base_model\.model/, UNTIED, { tensors: renamed((name) => `base_model.model.${name}`) }],
    ["a model inside a module of its user's", /PREFIX/, UNTIED, { tensors: renamed((name) => `student.${name}`) }],
    ["the language model of a model of images", /PREFIX/, UNTIED, { tensors: renamed((name) => name.replace(/^model\./, "model.language_model.")) }],
    ["layers of different widths", /layers/, UNTIED, { config: { intermediate_size: [40, 48] } }],
  ]; // biome-ignore format: a table
  const general = ["take weights and config from the same model", "fetch or convert the file again"];

  it.each(cases)("%s", async (_, words, name, changes) => {
    const error = await inspectModel(await copyOf(name, changes)).catch((caught) => caught);
    expect(error).toMatchObject({ kind: "unsupported" });
    expect(`${error.message} ${error.remedy}`).toMatch(words);
    expect(general).not.toContain(error.remedy);
  });

  it("an adapter's folder without weights that are read", async () => {
    const folder = await copyOf(UNTIED, { files: { "adapter_config.json": { peft_type: "LORA" } } });
    rmSync(join(folder, "model.safetensors"));
    await expect(inspectModel(folder)).rejects.toMatchObject({ kind: "unsupported" });
  });

  it.each([
    ["longrope's factors", { "rope_factors_long.weight": [4] }, {}],
    ["an adapter", {}, { "general.type": "adapter" }],
    ["layers of different numbers of heads", {}, { "llama.attention.head_count_kv": new Int32Array([2, 1]) }],
  ] as [string, Record<string, number[]>, Record<string, unknown>][])("in GGUF %s", async (_, tensors, metadata) => {
    const error = await describeGguf(tensors, metadata).catch((caught) => caught);
    expect(error).toMatchObject({ kind: "unsupported" });
    expect(general).not.toContain(error.remedy);
  });

  it("not so a list in GGUF that has the same number for every layer", async () => {
    const { config } = await describeGguf({}, { "llama.attention.head_count_kv": new Int32Array([2, 2]) });
    expect(config.n_key_value_heads).toBe(2);
  });
});

/** Describes the fixture llama-gqa.gguf with other tensors and metadata. */
async function describeGguf(shapes: Record<string, number[]>, metadata: Record<string, unknown>) {
  const checkpoint = await openCheckpoint(fixture("families-gguf/llama-gqa.gguf"));
  const more = Object.entries(shapes).map(([name, shape]): [string, TensorInfo] => [
    name,
    { name, shape, type: "F32", bytes: 16 },
  ]);
  const changed: Checkpoint = {
    ...checkpoint,
    metadata: { ...checkpoint.metadata, ...metadata },
    tensors: new Map([...checkpoint.tensors, ...more]),
  };
  try {
    return describeCheckpoint(changed);
  } finally {
    await checkpoint.close();
  }
}
