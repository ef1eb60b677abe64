import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maskFromHeads } from "../../../backend/common/heads/mask.ts";
import { headModel } from "../../../backend/common/heads/model.ts";
import { checkpointInput } from "../../../backend/exports/checkpoints/checkpoint-input.ts";
import { writeHuggingFace } from "../../../backend/exports/checkpoints/hugging-face.ts";
import { exportHeads } from "../../../backend/exports/index.ts";
import { describeCheckpoint } from "../../../backend/models/families/index.ts";
import { openCheckpoint } from "../../../backend/models/formats/open.ts";
import { readSafetensors } from "../../../backend/models/formats/safetensors/safetensors.ts";
import { loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";
import { partTensors } from "../../../backend/models/weights/weights.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { failure } from "../../helpers/errors.ts";
import { fixture } from "../../helpers/fixtures.ts";

let out: string;
beforeAll(async () => {
  await initBackend();
  out = await mkdtemp(join(tmpdir(), "headscope-hf-"));
});
afterAll(() => rm(out, { recursive: true }));

/** A model's weights as numbers, by part. */
function weightsOf(model: Model): Map<string, Float32Array> {
  return new Map(
    [...partTensors(model.weights)].map(([name, weight]) => {
      const values = tf.tidy(() => ("widen" in weight ? weight.widen() : weight).dataSync() as Float32Array);
      return [name, values];
    }),
  );
}

/** Loads a model, writes it as a Hugging Face folder, and loads that. */
async function thereAndBack(path: string, name: string, options: Parameters<typeof writeHuggingFace>[2] = {}) {
  const model = await loadModel(path);
  try {
    const written = await writeHuggingFace(model, join(out, name), options);
    const again = await loadModel(join(out, name));
    const found = {
      before: weightsOf(model),
      after: weightsOf(again),
      config: model.config,
      read: again.config,
      written,
    };
    again.dispose();
    return found;
  } finally {
    model.dispose();
  }
}

describe("a Hugging Face folder written back", () => {
  it.each([
    "families/gemma2",
    "families/gpt2",
    "families/gpt_neo",
    "families/gpt_neox",
    "families/llama3-rope",
    "families/mistral-window",
    "families/olmo2",
    "families/opt",
    "families/phi3",
    "families/qwen2",
    "families/qwen3",
    "families-extra/gemma3",
    "families-extra/llama-linear-biased",
    "families-extra/llama-yarn",
    "families-gguf/gemma2.gguf",
    "families-gguf/gpt2.gguf",
    "families-gguf/gpt_neox.gguf",
    "families-gguf/llama3-rope.gguf",
    "families-gguf/llama-yarn.gguf",
    "families-gguf/olmo2.gguf",
    "families-gguf/phi3.gguf",
    "families-gguf/phi3-partial.gguf",
    "families-gguf/qwen2.gguf",
    "families-gguf/qwen3.gguf",
  ])("gives the model of %s again, bit for bit", async (path) => {
    const before = tf.memory().numTensors;
    const found = await thereAndBack(fixture(path), path.replace("/", "-"));
    expect(found.read).toEqual(found.config);
    expect([...found.after.keys()]).toEqual([...found.before.keys()]);
    for (const [name, values] of found.after) expect(values, name).toEqual(found.before.get(name));
    expect(tf.memory().numTensors).toBe(before);
  });

  it("has the source's tensors under its names, and of Gemma's norms what is added to 1", async () => {
    await thereAndBack(fixture("families/gemma2"), "names");
    const [source, written] = await Promise.all(
      [fixture("families/gemma2"), join(out, "names")].map((folder) =>
        readSafetensors(join(folder, "model.safetensors")),
      ),
    );
    expect([...written!.tensors.keys()].sort()).toEqual([...source!.tensors.keys()].sort());
    expect(written!.metadata["format"]).toBe("pt");
    for (const [name, { shape, data }] of written!.tensors) {
      const original = source!.tensors.get(name)!;
      expect(shape).toEqual(original.shape);
      const furthest = Math.max(
        ...Array.from(data as Float32Array, (v, i) => Math.abs(v - (original.data[i] as number))),
      );
      expect(furthest, name).toBeLessThanOrEqual(name.includes("norm") ? 2 ** -24 : 0);
    }
  });

  it("keeps OPT's rows of positions that no position reads", async () => {
    await thereAndBack(fixture("families/opt"), "opt");
    const name = "model.decoder.embed_positions.weight";
    const [source, written] = await Promise.all(
      [fixture("families/opt"), join(out, "opt")].map((folder) => readSafetensors(join(folder, "model.safetensors"))),
    );
    expect(written!.tensors.get(name)!.data).toEqual(source!.tensors.get(name)!.data);
  });

  it("takes the tokenizer along and says float32 in config.json", async () => {
    const { written } = await thereAndBack(fixture("formats/llama-tiny"), "tokenizer");
    expect(written.files).toEqual(["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]);
    for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
      expect(await readFile(join(out, "tokenizer", name))).toEqual(
        await readFile(join(fixture("formats/llama-tiny"), name)),
      );
    }
    const mistral = await thereAndBack(fixture("families/mistral-window"), "bf16");
    expect(mistral.written.files).toContain("generation_config.json");
    expect(JSON.parse(await readFile(join(out, "bf16", "config.json"), "utf8"))).toMatchObject({
      architectures: ["MistralForCausalLM"],
      dtype: "float32",
      sliding_window: 8,
    });
  });

  it("writes the tokenizer of a GGUF file", async () => {
    const { written } = await thereAndBack(fixture("formats/llama-tiny.gguf"), "from-gguf");
    expect(written.files).toContain("tokenizer.json");
    const [source, again, folder] = await Promise.all(
      [fixture("formats/llama-tiny.gguf"), join(out, "from-gguf"), fixture("formats/llama-tiny")].map((path) =>
        loadModel(path),
      ),
    );
    for (const text of ["The capital of France is 12", " Grüße 😀\n\t x", "<|endoftext|>a"]) {
      const ids = again!.tokenizer!.encode(text);
      expect(ids).toEqual(source!.tokenizer!.encode(text));
      expect(ids).toEqual(folder!.tokenizer!.encode(text));
      expect(again!.tokenizer!.decode(ids)).toBe(text);
    }
    expect(again!.tokenizer).toMatchObject({ bos: source!.tokenizer!.bos, eos: source!.tokenizer!.eos });
    for (const model of [source, again, folder]) model!.dispose();
  });

  it("writes ablated heads as zeros of W_O, in the layout of each family", async () => {
    for (const path of ["families/gpt2", "families/phi3"]) {
      const { before, after } = await thereAndBack(fixture(path), `ablated-${path.slice(9)}`, {
        ablated: [{ layer: 1, head: 2 }],
      });
      for (const [name, values] of after) {
        const expected = before.get(name)!.slice();
        if (name === "blocks.1.attn.o")
          for (let row = 0; row < 32; row++) expected.fill(0, row * 32 + 16, row * 32 + 24);
        expect(values, `${path} ${name}`).toEqual(expected);
      }
    }
  });

  it("is what export pruned-checkpoint writes of a model of any family", async () => {
    const model = await loadModel(fixture("families/gpt_neox"));
    const mask = maskFromHeads(headModel(model), [{ layer: 0, head: 3 }]);
    await exportHeads("pruned-checkpoint", { mask, checkpoint: checkpointInput(model) }, join(out, "pruned"));
    model.dispose();
    const name = "gpt_neox.layers.0.attention.dense.weight";
    const [source, written] = await Promise.all(
      [fixture("families/gpt_neox"), join(out, "pruned")].map((folder) =>
        readSafetensors(join(folder, "model.safetensors")),
      ),
    );
    const expected = (source!.tensors.get(name)!.data as Float32Array).slice();
    for (let row = 0; row < 32; row++) expected.fill(0, row * 32 + 24, row * 32 + 32);
    expect(written!.tensors.get(name)!.data).toEqual(expected);
    expect(written!.metadata["headscope.ablated"]).toBe("0.3");
  });

  it("has the rotation for transformers 4 as well as for 5", async () => {
    await thereAndBack(fixture("families/llama3-rope"), "rope");
    const config = JSON.parse(await readFile(join(out, "rope", "config.json"), "utf8"));
    expect(config.rope_parameters.rope_type).toBe("llama3");
    expect(config).toMatchObject({
      rope_theta: 10000,
      rope_scaling: { rope_type: "llama3", factor: 8, original_max_position_embeddings: 32 },
    });
  });

  it("has the weights as they were edited", async () => {
    const model = await loadModel(fixture("families/gpt2"));
    const edited = tf.tidy(() => model.weights.blocks[0]!.oBias!.add(1));
    const before = await edited.data();
    model.weights.blocks[0]!.oBias!.dispose();
    model.weights.blocks[0]!.oBias = edited;
    await writeHuggingFace(model, join(out, "edited"));
    model.dispose();
    const { tensors } = await readSafetensors(join(out, "edited", "model.safetensors"));
    expect(tensors.get("transformer.h.0.attn.c_proj.bias")!.data).toEqual(before);
  });

  it("refuses what the family has no place for, and leaves nothing behind", async () => {
    const toy = await loadModel("toy-induction");
    expect((await failure(() => writeHuggingFace(toy, join(out, "toy")))).line).toMatch(
      /toy-induction is of no family that transformers has .*--format transformer-lens/,
    );
    toy.dispose();
    const model = await loadModel(fixture("families/llama-gqa"));
    const bias = tf.zeros([32]);
    model.weights.blocks[0]!.mlpOutBias = bias;
    expect((await failure(() => writeHuggingFace(model, join(out, "biased")))).message).toMatch(
      /has blocks\.0\.mlp\.out_bias, unlike a llama model of transformers/,
    );
    model.dispose();
    const folded = await loadModel(fixture("families/llama-gqa"), { process: ["fold_ln"] });
    await writeHuggingFace(folded, join(out, "folded")); // a Llama whose norms scale by 1
    folded.dispose();
    const checkpoint = await openCheckpoint(join(out, "folded"));
    expect(describeCheckpoint(checkpoint).config.tie_word_embeddings).toBe(false);
    await checkpoint.close();
  });
});
