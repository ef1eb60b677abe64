import { beforeAll, describe, expect, it } from "vitest";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { hookNames } from "../../../../backend/models/transformer/hook-points.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { functions } from "../../../../backend/runtime/capture.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

describe("forward", () => {
  it("gives the same logits captured and op by op", () => {
    const tokens = randomTokens(2, 21, 96);
    const a = forward(model, { tokens });
    const b = forward(model, { tokens }, { captured: false });
    expect(maxDifference(a.logits!, b.logits!)).toBeLessThan(2e-4);
    a.dispose();
    b.dispose();
  });

  it("gives the same logits in a cache, in prefill and token by token", () => {
    const tokens = randomTokens(2, 21, 96);
    const whole = forward(model, { tokens });
    const cache = new KvCache(model.config, { rows: 2, capacity: 32 });
    const first = forward(model, { tokens: tokens.map((r) => r.slice(0, 9)), cache });
    expect(maxDifference(first.logits!, whole.logits!.slice([0, 0, 0], [2, 9, 96]))).toBeLessThan(2e-4);
    for (let t = 9; t < 21; t++) {
      const step = forward(model, { tokens: tokens.map((r) => [r[t]!]), cache });
      expect(maxDifference(step.logits!, whole.logits!.slice([0, t, 0], [2, 1, 96]))).toBeLessThan(2e-4);
      step.dispose();
    }
    cache.dispose();
  });

  it("passes a long input in chunks with the same result, and keeps nothing", () => {
    const tokens = randomTokens(1, 1100, 96);
    forward(model, { tokens, logitsAt: "last" }).dispose();
    const before = tf.memory().numTensors;
    const long = forward(model, { tokens, logitsAt: [0, 300, 700, -1] }, { names: ["blocks.1.attn.hook_z"] });
    const eager = forward(
      model,
      { tokens, logitsAt: [0, 300, 700, -1] },
      { names: ["blocks.1.attn.hook_z"], captured: false },
    );
    expect(maxDifference(long.logits!, eager.logits!)).toBeLessThan(5e-4);
    expect(
      maxDifference(long.activations.get("blocks.1.attn.hook_z")!, eager.activations.get("blocks.1.attn.hook_z")!),
    ).toBeLessThan(5e-4);
    long.dispose();
    eager.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("shows every activation of its config, captured as op by op", () => {
    const tokens = randomTokens(2, 11, 96);
    const a = forward(model, { tokens }, { names: () => true });
    const b = forward(model, { tokens }, { names: () => true, captured: false });
    expect([...a.activations.keys()].sort()).toEqual(hookNames(model.config).sort());
    for (const [name, t] of a.activations) expect(maxDifference(t, b.activations.get(name)!), name).toBeLessThan(5e-4);
    a.dispose();
    b.dispose();
  });

  it("starts and stops at any layer", () => {
    const tokens = randomTokens(2, 13, 96);
    const whole = forward(model, { tokens });
    const lower = forward(model, { tokens, stopLayer: 2 });
    expect(lower.logits).toBeUndefined();
    const upper = forward(model, { resid: lower.resid, startLayer: 2 });
    expect(maxDifference(upper.logits!, whole.logits!)).toBeLessThan(2e-4);
  });

  it("pads rows without changing them", () => {
    const rows = randomTokens(3, 30, 96).map((r, i) => r.slice(0, [30, 7, 18][i]));
    const batch = forward(model, { tokens: rows, logitsAt: "last" });
    rows.forEach((row, r) => {
      const single = forward(model, { tokens: [row], logitsAt: "last" });
      expect(maxDifference(batch.logits!.slice([r, 0, 0], [1, 1, 96]), single.logits!)).toBeLessThan(2e-4);
      single.dispose();
    });
  });

  it("needs no new function for another length of a known bucket", () => {
    forward(model, { tokens: randomTokens(1, 33, 96), logitsAt: "last" }).dispose();
    const { captures } = functions;
    forward(model, { tokens: randomTokens(1, 39, 96), logitsAt: "last" }).dispose();
    expect(functions.captures).toBe(captures);
  });

  it("leaves masked keys out: rows padded on the left equal single rows", () => {
    const row = randomTokens(1, 9, 96)[0]!;
    const pad = 4;
    const padded = forward(model, {
      tokens: [[...new Array(pad).fill(0), ...row]],
      positions: [[...new Array(pad).fill(0), ...row.keys()]],
      keyMask: [[...new Array(pad).fill(0), ...row.map(() => 1)]],
      logitsAt: "last",
    });
    const single = forward(model, { tokens: [row], logitsAt: "last" });
    expect(maxDifference(padded.logits!, single.logits!)).toBeLessThan(2e-4);
  });

  it.each([500, 1100])(
    "keeps no activation that nobody asked for: its peak does not grow with the layers (%i tokens)",
    (length) => {
      const peak = (n_layers: number): number => {
        const deep = randomModel(smallConfig({ n_layers }));
        const tokens = randomTokens(1, length, 96);
        forward(deep, { tokens, logitsAt: "last" }).dispose();
        const before = tf.memory().numBytes;
        let most = 0;
        const result = forward(
          deep,
          { tokens, logitsAt: "last" },
          { onLayer: () => (most = Math.max(most, tf.memory().numBytes - before)) },
        );
        result.dispose();
        deep.dispose();
        return most;
      };
      const [shallow, deep] = [peak(2), peak(9)];
      expect(deep).toBeLessThan(shallow * 1.02);
    },
  );

  it("names what is wrong with its input", () => {
    expect(() => forward(model, { tokens: [[1, 96]] })).toThrow(/row 0, position 1: id 96 is outside the vocabulary/);
    expect(() => forward(model, { tokens: [[]] })).toThrow(/row 0 has 0 tokens/);
    expect(() => forward(model, { tokens: randomTokens(1, 1201, 96) })).toThrow(
      /row 0 has 1201 tokens, more than the model's context of 1200/,
    );
    expect(() => forward(model, { tokens: [[1]] }, { names: ["blocks.0.attn.hook_patern"] })).toThrow(
      /unknown hook name "blocks.0.attn.hook_patern"/,
    );
    expect(() => forward(model, { tokens: [[1]] }, { names: ["blocks.7.attn.hook_pattern"] })).toThrow(/layers 0 to 2/);
  });

  it.each([
    [
      "layer norm and learned positions",
      { normalization_type: "LN", positional_embedding_type: "standard", gated_mlp: false, act_fn: "gelu_new" },
    ],
    [
      "attention only, without norms",
      { attn_only: true, normalization_type: null, final_norm: false, n_key_value_heads: 6 },
    ],
    ["partial rotary and an unembedding of its own", { rotary_dim: 4, tie_word_embeddings: false, act_fn: "relu" }],
  ] as const)("serves other configs: %s", (_, changes) => {
    const other = randomModel(smallConfig(changes));
    const tokens = randomTokens(2, 14, 96);
    const whole = forward(other, { tokens }, { names: () => true });
    expect([...whole.activations.keys()].sort()).toEqual(hookNames(other.config).sort());
    const size = Math.max(10, whole.logits!.abs().max().dataSync()[0]!);
    const cache = new KvCache(other.config, { rows: 2, capacity: 32 });
    forward(other, { tokens: tokens.map((r) => r.slice(0, 10)), cache }).dispose();
    for (let t = 10; t < 14; t++) {
      const step = forward(other, { tokens: tokens.map((r) => [r[t]!]), cache });
      // Without norms logits reach hundreds, and float32 keeps seven digits.
      expect(maxDifference(step.logits!, whole.logits!.slice([0, t, 0], [2, 1, 96]))).toBeLessThan(3e-5 * size);
    }
    cache.dispose();
    other.dispose();
  });
});
