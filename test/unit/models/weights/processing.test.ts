import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { PROCESSING, type Processing } from "../../../../backend/common/words.ts";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { loadModel, processModel } from "../../../../backend/models/load.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { parameter } from "../../../../backend/models/weights/parameters.ts";
import { processedDigest, processWeights } from "../../../../backend/models/weights/processing.ts";
import type { Weights } from "../../../../backend/models/weights/weights.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { functions } from "../../../../backend/runtime/capture.ts";
import { hasNative } from "../../../../backend/runtime/ops.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { failure } from "../../../helpers/errors.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

beforeAll(() => initBackend());
afterAll(() => functions.clear());

/** GPT-2's kind: layer norms with offsets, learned positions, biases everywhere. */
const GPT: Partial<ModelConfig> = {
  normalization_type: "LN", positional_embedding_type: "standard", gated_mlp: false, act_fn: "gelu_new", n_ctx: 32,
  n_key_value_heads: 6,
}; // biome-ignore format: a table

const CASES: Readonly<Record<string, Partial<ModelConfig>>> = {
  "layer norm, learned positions, tied": GPT,
  "layer norm, untied, grouped queries": { ...GPT, n_key_value_heads: 2, tie_word_embeddings: false },
  "layer norm, attention only": { ...GPT, attn_only: true },
  "RMS norm, rotary, grouped queries, tied": {},
  "RMS norm, untied": { tie_word_embeddings: false },
};

/** A random model with biases on queries, keys, values and outputs, whose logits are a few units. */
function biased(changes: Partial<ModelConfig>): Model {
  const model = randomModel(smallConfig(changes));
  const random = new Random(5);
  const vector = (n: number): Tensor => tf.tensor1d(Float32Array.from({ length: n }, () => 0.3 * random.normal()));
  const { config, weights } = model;
  for (const block of weights.blocks) {
    block.qkvBias = vector((config.n_heads + 2 * config.n_key_value_heads) * config.d_head);
    block.oBias = vector(config.d_model);
    if (config.attn_only || config.gated_mlp) continue;
    block.mlpInBias = vector(config.d_mlp);
    block.mlpOutBias = vector(config.d_model);
  }
  const final = weights.lnFinal!;
  weights.lnFinal = Object.fromEntries(
    Object.entries(final).map(([k, t]) => [k, tf.mul(t as Tensor, 0.2)]),
  ) as typeof final;
  for (const old of Object.values(final)) old.dispose();
  return model;
}

function logProbabilities(model: Model): Float32Array {
  const made = forward(model, { tokens: randomTokens(2, 12, 96) });
  const values = tf.tidy(() => tf.logSoftmax(made.logits!).dataSync() as Float32Array);
  made.dispose();
  return values;
}

/** The same of a model that is freed after it. */
function freedAfter(model: Model): Float32Array {
  const values = logProbabilities(model);
  model.dispose();
  return values;
}

function worst(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}

/** The largest mean along an axis of a parameter. */
function largestMean(model: Model, name: string, axis: number): number {
  return tf.tidy(() => {
    const whole = parameter(model, name);
    return tf.max(tf.abs(tf.mean(whole, axis))).dataSync()[0]!;
  });
}

describe("weight processing", () => {
  const rms = (name: string): boolean => name.startsWith("RMS");
  for (const [name, changes] of Object.entries(CASES)) {
    const applicable = PROCESSING.filter((step) => !(rms(name) && step === "center_writing_weights"));
    it.each([...applicable.map((step) => [step]), applicable])(
      `of ${name} leaves the log-probabilities: %s %s %s %s`,
      (...given) => {
        const switches = given.filter((step) => step !== undefined) as Processing[];
        const before = tf.memory().numTensors;
        const raw = freedAfter(biased(changes));
        const changed = processModel(biased(changes), switches);
        expect(worst(logProbabilities(changed), raw)).toBeLessThan(1e-4);
        if (switches.includes("fold_ln")) {
          expect(changed.weights.unembed).not.toBe(changed.weights.embed);
          expect(changed.config.tie_word_embeddings).toBe(false);
          for (const norm of ["blocks.1.ln1.w", "ln_final.w"])
            expect([...tf.tidy(() => parameter(changed, norm).dataSync())].every((w) => w === 1)).toBe(true);
        }
        if (switches.includes("center_unembed")) expect(largestMean(changed, "unembed.W_U", 1)).toBeLessThan(1e-6);
        if (switches.includes("fold_value_biases")) expect(largestMean(changed, "blocks.0.attn.b_V", 1)).toBe(0);
        if (switches.includes("center_writing_weights"))
          for (const [weight, axis] of [
            ["embed.W_E", 1],
            ["pos_embed.W_pos", 1],
            ["blocks.1.attn.W_O", 2],
            ["blocks.1.attn.b_O", 0],
          ] as const)
            expect(largestMean(changed, weight, axis)).toBeLessThan(1e-6);
        changed.dispose();
        expect(tf.memory().numTensors).toBe(before);
      },
    );
  }

  const FAMILIES: [string, Processing[]][] = [
    ["gpt_neox", ["fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"]],
    ["opt", ["fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"]],
    ["gemma2", ["fold_ln"]],
    ["qwen2", ["fold_ln", "center_unembed", "fold_value_biases"]],
    ["qwen3", ["fold_ln", "center_unembed"]],
    ["olmo2", ["center_unembed"]],
  ];
  it.each(FAMILIES)("of a checkpoint of %s leaves the log-probabilities: %s", async (family, switches) => {
    const before = tf.memory().numTensors;
    const path = fixture(`families/${family}`);
    const raw = freedAfter(await loadModel(path));
    const changed = freedAfter(await loadModel(path, { process: switches }));
    expect(worst(changed, raw)).toBeLessThan(1e-4);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("centres what a layer norm's matrices read, as nothing of its mean gets through", () => {
    const changed = processModel(biased(GPT), ["fold_ln"]);
    expect(largestMean(changed, "blocks.0.attn.W_Q", 1)).toBeLessThan(1e-6);
    expect(largestMean(changed, "blocks.2.mlp.W_in", 0)).toBeLessThan(1e-6);
    changed.dispose();
  });

  it("makes value biases of a layer norm's offset, which can be folded on", () => {
    const raw = freedAfter(randomModel(smallConfig(GPT)));
    const changed = processModel(randomModel(smallConfig(GPT)), ["fold_value_biases", "fold_ln"]);
    expect(largestMean(changed, "blocks.0.attn.b_V", 1)).toBe(0);
    expect(largestMean(changed, "blocks.0.attn.b_O", 0)).toBeGreaterThan(0.01);
    expect(worst(logProbabilities(changed), raw)).toBeLessThan(5e-4); // these logits are 5 times as large
    changed.dispose();
  });

  it("gives the model an identity of its own, whatever the order of the switches", () => {
    const digest = `sha256:${"0".repeat(64)}`;
    expect(processedDigest(digest, [])).toBe(digest);
    expect(processedDigest(digest, ["fold_ln"])).not.toBe(digest);
    expect(processedDigest(digest, ["center_unembed", "fold_ln"])).toBe(
      processedDigest(digest, ["fold_ln", "center_unembed"]),
    );
  });
});

describe("weight processing is refused with a reason, and the weights stay as they were", () => {
  const REFUSALS: [Processing, string, Partial<ModelConfig>, string][] = [
    ["fold_ln", "post norms", { norm_placement: "post" }, "stand behind attention and MLP"],
    ["fold_ln", "no norms", { normalization_type: null, final_norm: false }, "no norms"],
    ["center_writing_weights", "RMS norms", {}, "does not subtract the mean"],
    ["center_writing_weights", "no final norm", { ...GPT, final_norm: false }, "without a norm"],
    ["center_unembed", "soft-capped logits", { output_logits_soft_cap: 30 }, "soft-capped at 30"],
    ["center_unembed", "outputs that are values", { d_vocab_out: 1 }, "need not be classes"],
    ["fold_value_biases", "no value biases", {}, "no value biases"],
  ];
  it.each(REFUSALS)("%s with %s", async (step, _, changes, reason) => {
    const config = smallConfig(changes);
    const model = randomModel(smallConfig(config.norm_placement || config.d_vocab_out ? {} : changes));
    const kept: Weights = { ...model.weights };
    const error = await failure(() =>
      processWeights(
        config,
        model.weights,
        ["fold_ln", step].slice(step === "fold_ln" ? 1 : 0) as Processing[],
        "random",
      ),
    );
    expect(error.kind).toBe("unsupported");
    expect(error.message).toContain(`random: ${step} does not apply`);
    expect(error.message).toContain(reason);
    expect(model.weights).toEqual(kept);
    expect(model.weights.embed.parts[0]).toHaveProperty("isDisposed", false);
    model.dispose();
  });

  it("on weights held in fewer bits, and the model is freed", async () => {
    if (!hasNative()) return; // elsewhere they are held in float32
    const before = tf.memory().numTensors;
    const path = fixture("families/mistral-window");
    const error = await failure(() => loadModel(path, { weights: "bf16", process: ["fold_ln"] }));
    expect(error.line).toContain("would be rounded again; use --weights f32");
    expect(tf.memory().numTensors).toBe(before);
  });
});
