import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { useThreads } from "../../../backend/kernels/kernels.ts";
import type { ModelConfig } from "../../../backend/models/config.ts";
import { kernelBlock } from "../../../backend/models/forward/kernel-block.ts";
import { loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";
import type { BlockWeights } from "../../../backend/models/weights/block-parts.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { fixture } from "../../helpers/fixtures.ts";
import { plainBlock, randomTokensOf, throughKernel, type Way, withBiases } from "../../helpers/kernels/blocks.ts";
import { kernelsHere, relativeError } from "../../helpers/kernels/here.ts";
import { randomModel, smallConfig } from "../../helpers/models.ts";

const { ready, threads } = await kernelsHere();

const ROWS = 2;
/** Tokens of a row in each call. */
const STEPS = [8, 1, 3, 1, 2];
const LENGTH = STEPS.reduce((a, b) => a + b, 0);

const numbers = (tensor: { dataSync(): ArrayLike<number> }): Float32Array => Float32Array.from(tensor.dataSync());

/** Largest difference of the kernel's block from the engine's, relative to the largest number. */
function difference(model: Model, layer: number, weights: BlockWeights, way: Way = { steps: STEPS }): number {
  return tf.tidy(() => {
    const tokens = randomTokensOf(model.config, ROWS, LENGTH);
    const got = numbers(throughKernel(model, layer, tokens, weights, way));
    return relativeError(got, numbers(plainBlock(model, layer, tokens, weights)));
  });
}

const CONFIGS: Record<string, Partial<ModelConfig>> = {
  "RMS norms": {},
  "layer norms": { normalization_type: "LN" },
  "no norms": { normalization_type: null },
  "norms behind": { norm_placement: "post" },
  "norms before and behind": { norm_placement: "both", normalization_type: "LN" },
  "norms of each head": { qk_norm: "head" },
  "norms over all heads": { qk_norm: "all" },
  "attention beside the MLP": { parallel_attn_mlp: true, normalization_type: "LN" },
  "attention beside the MLP, norms behind": { parallel_attn_mlp: true, norm_placement: "both" },
  "attention only": { attn_only: true },
  "attention only, said to be parallel": { attn_only: true, parallel_attn_mlp: true },
  "a soft cap": { attn_scores_soft_cap: 2, attn_scale: 0.7 },
  "windows in some layers": { window_size: 6, attn_types: ["global", "local", "global"], rotary_local: { base: 100 } },
  "a part rotated": { rotary_dim: 6 },
  "nothing rotated": { rotary_dim: 0 },
  "learned positions": { positional_embedding_type: "standard" },
  "one head, of an odd width": { n_heads: 1, n_key_value_heads: 1, d_head: 5, rotary_dim: 4 },
  "odd widths": { d_model: 37, d_mlp: 53, d_head: 22, rotary_dim: 22 },
  ...Object.fromEntries(
    (["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu"] as const).flatMap((act_fn) =>
      [true, false].map((gated_mlp) => [`${act_fn}, gated: ${gated_mlp}`, { act_fn, gated_mlp }]),
    ),
  ),
}; // biome-ignore format: a table

describe.skipIf(!ready)("a block as one kernel is the engine's block", () => {
  it.each(Object.entries(CONFIGS))("with %s, without biases and with all of them", (_, changes) => {
    const model = randomModel(smallConfig(changes));
    model.weights.blocks.forEach((weights, layer) => {
      expect(difference(model, layer, weights)).toBeLessThan(1e-5);
      expect(difference(model, layer, withBiases(model, layer))).toBeLessThan(1e-5);
    });
    model.dispose();
  });

  const folders = ["families", "families-extra"].flatMap((name) =>
    readdirSync(fixture(name)).map((checkpoint) => join(fixture(name), checkpoint)),
  );
  it.each(folders.map((path) => ({ name: basename(path), path })))("of $name, as its checkpoint has it", async ({ path }) => {
    const model = await loadModel(path);
    model.weights.blocks.forEach((weights, layer) => {
      expect(difference(model, layer, weights)).toBeLessThan(1e-5);
    });
    model.dispose();
  });
});
