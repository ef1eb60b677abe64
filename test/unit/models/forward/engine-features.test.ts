import { describe, expect, it } from "vitest";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { type LayerFacts, reference, type Waves } from "../../../helpers/reference-transformer.ts";

await initBackend();

const WINDOW = 6;
/** Frequencies base^(-2i / dim), in the plain form. */
const plainWaves = (dim: number, base: number, stretch = 1): Waves => ({
  inverse: Array.from({ length: dim / 2 }, (_, i) => base ** ((-2 * i) / dim) / stretch),
  factor: 1,
});
const waves = plainWaves(8, 10000);

interface Case {
  name: string;
  config: Partial<ModelConfig>;
  facts?: (layer: number) => LayerFacts;
}

const ALONE: Case[] = [
  { name: "attention beside the MLP", config: { parallel_attn_mlp: true } },
  {
    name: "norms after attention and MLP",
    config: { norm_placement: "post" },
  },
  { name: "norms before and after", config: { norm_placement: "both", normalization_type: "LN" } },
  { name: "query and key norm of each head", config: { qk_norm: "head" } },
  { name: "query and key norm over all heads", config: { qk_norm: "all" } },
  { name: "soft cap of scores", config: { attn_scores_soft_cap: 2 } },
  { name: "soft cap of logits", config: { output_logits_soft_cap: 1.5 } },
  { name: "a window in every layer", config: { window_size: WINDOW }, facts: () => ({ waves, local: WINDOW }) },
  {
    name: "windows in some layers",
    config: { window_size: WINDOW, attn_types: ["global", "local", "global"] },
    facts: (l) => ({ waves, local: l === 1 ? WINDOW : undefined }),
  },
  { name: "scaled embeddings", config: { embed_scale: 3 } },
  { name: "gelu of a logistic", config: { act_fn: "quick_gelu", gated_mlp: false } },
  { name: "gelu by tanh", config: { act_fn: "gelu_pytorch_tanh" } },
  {
    name: "partial rotation with stretched positions",
    config: { rotary_dim: 4, rotary_scaling: { type: "linear", factor: 4 } },
    facts: () => ({ waves: plainWaves(4, 10000, 4) }),
  },
];

/** All the features that Gemma 2 and 3, NeoX and OLMo 2 have between them. */
const TOGETHER: Case[] = [
  {
    name: "Gemma's",
    config: {
      norm_placement: "both", qk_norm: "head", attn_scores_soft_cap: 5, output_logits_soft_cap: 3, embed_scale: 2,
      window_size: WINDOW, attn_types: ["local", "global", "local"], act_fn: "gelu_pytorch_tanh",
      rotary_base: 50000, rotary_scaling: { type: "linear", factor: 8 }, rotary_local: { base: 1000 },
    }, // biome-ignore format: a table
    facts: (l) => (l === 1 ? { waves: plainWaves(8, 50000, 8) } : { waves: plainWaves(8, 1000), local: WINDOW }),
  },
  {
    name: "GPT-NeoX's, with windows",
    config: {
      parallel_attn_mlp: true, normalization_type: "LN", rotary_dim: 2, gated_mlp: false, act_fn: "gelu_new",
      n_key_value_heads: 6, window_size: 140, attn_types: ["global", "local", "local"],
    }, // biome-ignore format: a table
    facts: (l) => ({ waves: plainWaves(2, 10000), local: l > 0 ? 140 : undefined }),
  },
  {
    name: "OLMo 2's",
    config: { norm_placement: "post", qk_norm: "all", tie_word_embeddings: false },
  },
];

const factsOf = (given: Case) => given.facts ?? (() => ({ waves }));
const tensorOf = (rows: number[][]): ReturnType<typeof tf.tensor3d> => tf.tensor3d([rows]);

describe.each([...ALONE, ...TOGETHER])("$name", (given) => {
  const config = smallConfig(given.config);

  it("follows the formulas, op by op, captured and cached, with patterns looked at", () => {
    const model = randomModel(config);
    const before = tf.memory().numTensors;
    const tokens = randomTokens(1, 23, 96);
    const expected = reference(model, tokens[0]!, factsOf(given));
    const wanted = tensorOf(expected.logits);
    const patterns = expected.patterns.map((layer) => tf.tensor4d([layer]));
    const names = expected.patterns.map((_, l) => `blocks.${l}.attn.hook_pattern`);
    for (const captured of [false, true]) {
      const made = forward(model, { tokens }, { captured, names });
      expect(maxDifference(made.logits!, wanted), `captured ${captured}`).toBeLessThan(2e-4);
      names.forEach((name, l) => {
        expect(maxDifference(made.activations.get(name)!, patterns[l]!), name).toBeLessThan(1e-4);
      });
      made.dispose();
    }
    const untouched = forward(model, { tokens });
    expect(maxDifference(untouched.logits!, wanted)).toBeLessThan(2e-4);
    untouched.dispose();
    const cache = new KvCache(config, { capacity: 24 });
    for (const part of [tokens[0]!.slice(0, 17), ...tokens[0]!.slice(17).map((id) => [id])]) {
      const first = cache.lengths[0]!;
      const step = forward(model, { tokens: [part], cache });
      const slice = tf.slice(wanted, [0, first, 0], [1, part.length, 96]);
      expect(maxDifference(step.logits!, slice), `cached from ${first}`).toBeLessThan(2e-4);
      slice.dispose();
      step.dispose();
    }
    cache.dispose();
    tf.dispose([wanted, ...patterns]);
    // The tables that the model keeps came with the first forward.
    const kept = config.rotary_local ? 4 : 2;
    expect(tf.memory().numTensors).toBe(before + kept);
    model.dispose();
  });
});

describe.each(TOGETHER)("$name, long", (given) => {
  const config = smallConfig(given.config);

  it("is the same in chunks, into a cache and on from there", () => {
    const model = randomModel(config);
    const tokens = randomTokens(1, 700, 96, 3);
    const expected = reference(model, tokens[0]!, factsOf(given));
    const wanted = tensorOf(expected.logits);
    const whole = forward(model, { tokens });
    expect(maxDifference(whole.logits!, wanted), "in chunks").toBeLessThan(3e-4);
    const before = tf.memory().numTensors;
    const cache = new KvCache(config, { capacity: 720 });
    const at = Array.from({ length: 690 }, (_, t) => t);
    const prefill = forward(model, { tokens: [tokens[0]!.slice(0, 690)], cache, logitsAt: at });
    const first = tf.slice(wanted, [0, 0, 0], [1, 690, 96]);
    expect(maxDifference(prefill.logits!, first), "prefill").toBeLessThan(3e-4);
    first.dispose();
    prefill.dispose();
    for (let t = 690; t < 700; t++) {
      const step = forward(model, { tokens: [[tokens[0]![t]!]], cache });
      const own = tf.slice(wanted, [0, t, 0], [1, 1, 96]);
      expect(maxDifference(step.logits!, own), `token ${t}`).toBeLessThan(3e-4);
      own.dispose();
      step.dispose();
    }
    cache.dispose();
    expect(tf.memory().numTensors).toBe(before);
    whole.dispose();
    wanted.dispose();
    model.dispose();
  });
});
