import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { writeTransformerLens } from "../../../backend/exports/checkpoints/transformer-lens.ts";
import type { ModelConfig } from "../../../backend/models/config.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import { Model } from "../../../backend/models/model.ts";
import { type ParameterPlace, parameterLayout, weightsOver } from "../../../backend/models/weights/trainable.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { randomModel, smallConfig } from "../../helpers/models.ts";

/** Small: 2 layers, 4 heads of 4 dimensions. */
const SMALL: Partial<ModelConfig> = {
  n_layers: 2, n_heads: 4, n_key_value_heads: 4, d_model: 16, d_head: 4, d_mlp: 20, n_ctx: 9, d_vocab: 13,
  rotary_dim: 4, attn_scale: 0.5,
}; // biome-ignore format: a table

/** Each differs from the others in what its export must get right. */
const MODELS: Record<string, ModelConfig> = {
  "attention-only": smallConfig({
    ...SMALL,
    attn_only: true,
    normalization_type: "LN",
    positional_embedding_type: "standard",
    tie_word_embeddings: false,
    attn_scale: 0.4,
  }),
  "grouped-rotary": smallConfig({ ...SMALL, n_key_value_heads: 2, rotary_dim: 2, rotary_base: 500 }),
  "mlp-without-norm": smallConfig({
    ...SMALL,
    gated_mlp: false,
    act_fn: "gelu_new",
    normalization_type: null,
    final_norm: false,
    positional_embedding_type: "none",
    tie_word_embeddings: false,
  }),
  "side-by-side": smallConfig({
    ...SMALL,
    parallel_attn_mlp: true,
    normalization_type: "LN",
    gated_mlp: false,
    act_fn: "gelu_pytorch_tanh",
    rotary_dim: 2,
    window_size: 3,
    attn_types: ["global", "local"],
  }),
  "norms-and-caps": smallConfig({
    ...SMALL,
    n_key_value_heads: 2,
    norm_placement: "both",
    qk_norm: "head",
    attn_scores_soft_cap: 2,
    output_logits_soft_cap: 3,
    embed_scale: 4,
    window_size: 4,
    rotary_scaling: { type: "llama3", factor: 4, low_freq_factor: 1, high_freq_factor: 4, original_context: 16 },
  }),
};

/** Reads vectors and has readout layers, which TransformerLens has no words for. */
const VECTORS = smallConfig({
  ...SMALL,
  attn_only: true,
  normalization_type: "LN",
  positional_embedding_type: "standard",
  tie_word_embeddings: false,
  d_input: 5,
  d_vocab_out: 3,
  readout_hidden: [8, 6],
});

interface Oracle {
  models: Record<
    string,
    {
      files: Record<string, string>;
      logits?: number[][][];
      refused?: string;
      shapes?: Record<string, number[]>;
    }
  >;
}

/** A model with random weights, biases included. */
function make(config: ModelConfig): Model {
  if (config.d_input) {
    const tensorOf = ({ size, shape }: ParameterPlace) =>
      tf.tensor(
        Float32Array.from({ length: size }, (_, i) => (((7 * i) % 11) - 5) / 10),
        [...shape],
      );
    return new Model({
      ref: "vectors",
      family: "trained",
      digest: `sha256:${"0".repeat(64)}`,
      config,
      weights: weightsOver(config, parameterLayout(config), tensorOf),
    });
  }
  const model = randomModel(config, 3);
  const random = new Random(5);
  const bias = (n: number) => tf.tensor1d(Array.from({ length: n }, () => 0.3 * random.normal()));
  for (const block of model.weights.blocks) {
    block.qkvBias = bias((config.n_heads + 2 * config.n_key_value_heads) * config.d_head);
    block.oBias = bias(config.d_model);
    if (config.attn_only || config.gated_mlp) continue; // a gated MLP has none
    block.mlpInBias = bias(config.d_mlp);
    block.mlpOutBias = bias(config.d_model);
  }
  model.weights.unembedBias = bias(config.d_vocab);
  return model;
}

let folder: string;
let oracle: Oracle;
beforeAll(async () => {
  await initBackend();
  folder = process.env["HEADSCOPE_EXPORTS_OUT"] ?? (await mkdtemp(join(tmpdir(), "headscope-models-")));
  for (const [name, config] of Object.entries({ ...MODELS, vectors: VECTORS })) {
    const model = make(config);
    await writeTransformerLens(model, join(folder, name), { force: true });
    model.dispose();
  }
  oracle = JSON.parse(await readFile(join(import.meta.dirname, "../../oracles/transformer-lens-export.json"), "utf8"));
});
afterAll(async () => {
  if (process.env["HEADSCOPE_EXPORTS_OUT"] === undefined) await rm(folder, { recursive: true, force: true });
});

describe("the committed outputs", () => {
  it.each([...Object.keys(MODELS), "vectors"])("were made from these very files: %s", async (name) => {
    const { files } = oracle.models[name]!;
    for (const [file, digest] of Object.entries(files)) {
      const bytes = await readFile(join(folder, name, file));
      expect(createHash("sha256").update(bytes).digest("hex"), file).toBe(digest);
    }
    expect(Object.keys(files)).toEqual(["config.json", "model.safetensors"]);
  });
});

describe("TransformerLens", () => {
  it.each(Object.keys(MODELS))("gives our logits: %s", (name) => {
    const config = MODELS[name]!;
    const model = make(config);
    const tokens = [0, 1].map((r) => Array.from({ length: 7 }, (_, p) => (5 * r + 3 * p * p + 1) % config.d_vocab));
    const result = forward(model, { tokens });
    const ours = result.logits!.arraySync() as number[][][];
    const theirs = oracle.models[name]!.logits!;
    expect([ours.length, ours[0]!.length, ours[0]![0]!.length]).toEqual([
      theirs.length,
      theirs[0]!.length,
      theirs[0]![0]!.length,
    ]);
    const largest = Math.max(...theirs.flat(2).map(Math.abs));
    const worst = ours.flat(2).reduce((most, x, i) => Math.max(most, Math.abs(x - theirs.flat(2)[i]!)), 0);
    expect(worst / largest).toBeLessThan(1e-5);
    result.dispose();
    model.dispose();
  });

  it("refuses a model of vectors at the field that says what it lacks", () => {
    const { refused, shapes } = oracle.models["vectors"]!;
    expect(refused).toContain("'headscope'");
    expect(shapes).toMatchObject({
      "embed.W_E": [5, 16],
      "embed.b_E": [16],
      "readout.0.W": [16, 8],
      "readout.1.W": [8, 6],
      "readout.1.b": [6],
      "unembed.W_U": [6, 3],
    });
  });
});
