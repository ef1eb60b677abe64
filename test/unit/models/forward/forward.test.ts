import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { hookNames } from "../../../../backend/models/transformer/hook-points.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { functions } from "../../../../backend/runtime/capture.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { refused } from "../../../helpers/errors.ts";
import { leavesNoTensors, maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

/** Most inputs here are of 17 to 24 tokens: they are padded to one length, and share their functions. */
const ROWS = randomTokens(2, 21, 96);
let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
  forward(model, { tokens: ROWS }).dispose(); // the tables of rotations that it keeps
});
leavesNoTensors();

/** Largest difference of a tensor from the part of a whole that begins there. */
const apart = (part: Tensor, whole: Tensor, begin: number[]): number =>
  tf.tidy(() => maxDifference(part, tf.slice(whole, begin, part.shape)));

describe("forward", () => {
  it("gives the same logits captured and op by op", () => {
    const a = forward(model, { tokens: ROWS });
    const b = forward(model, { tokens: ROWS }, { captured: false });
    expect(maxDifference(a.logits!, b.logits!)).toBeLessThan(2e-4);
    a.dispose();
    b.dispose();
  });

  it("gives the same logits in a cache, in prefill and token by token", () => {
    const whole = forward(model, { tokens: ROWS });
    const cache = new KvCache(model.config, { rows: 2, capacity: 32 });
    const first = forward(model, { tokens: ROWS.map((r) => r.slice(0, 17)), cache });
    expect(apart(first.logits!, whole.logits!, [0, 0, 0])).toBeLessThan(2e-4);
    for (let t = 17; t < 21; t++) {
      const step = forward(model, { tokens: ROWS.map((r) => [r[t]!]), cache });
      expect(apart(step.logits!, whole.logits!, [0, t, 0])).toBeLessThan(2e-4);
      step.dispose();
    }
    for (const made of [whole, first, cache]) made.dispose();
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
    const a = forward(model, { tokens: ROWS }, { names: () => true });
    const b = forward(model, { tokens: ROWS }, { names: () => true, captured: false });
    expect([...a.activations.keys()].sort()).toEqual(hookNames(model.config).sort());
    for (const [name, t] of a.activations) expect(maxDifference(t, b.activations.get(name)!), name).toBeLessThan(5e-4);
    a.dispose();
    b.dispose();
  });

  it("starts and stops at any layer", () => {
    const whole = forward(model, { tokens: ROWS });
    const lower = forward(model, { tokens: ROWS, stopLayer: 2 });
    expect(lower.logits).toBeUndefined();
    const upper = forward(model, { resid: lower.resid, startLayer: 2 });
    expect(maxDifference(upper.logits!, whole.logits!)).toBeLessThan(2e-4);
    for (const made of [whole, lower, upper]) made.dispose();
  });

  it("pads rows without changing them", () => {
    const rows = randomTokens(3, 24, 96).map((r, i) => r.slice(0, [24, 17, 20][i]));
    const batch = forward(model, { tokens: rows, logitsAt: "last" });
    rows.forEach((row, r) => {
      const single = forward(model, { tokens: [row], logitsAt: "last" });
      expect(apart(single.logits!, batch.logits!, [r, 0, 0])).toBeLessThan(2e-4);
      single.dispose();
    });
    batch.dispose();
  });

  it("needs no new function for another length that is padded to the same", () => {
    forward(model, { tokens: randomTokens(1, 18, 96), logitsAt: "last" }).dispose();
    const { captures } = functions;
    forward(model, { tokens: randomTokens(1, 23, 96), logitsAt: "last" }).dispose();
    expect(functions.captures).toBe(captures);
  });

  it("gives away the stream before every block without another function, in the very run that it is without", () => {
    const plain = forward(model, { tokens: ROWS, logitsAt: "last" });
    const { captures } = functions;
    const names = Array.from({ length: model.config.n_layers }, (_, layer) => `blocks.${layer}.hook_resid_pre`);
    const looked = forward(model, { tokens: ROWS, logitsAt: "last" }, { names });
    expect(functions.captures).toBe(captures);
    expect(maxDifference(looked.logits!, plain.logits!)).toBe(0);
    const everything = forward(model, { tokens: ROWS, logitsAt: "last" }, { names: () => true });
    for (const name of names)
      expect(maxDifference(looked.activations.get(name)!, everything.activations.get(name)!), name).toBeLessThan(1e-4);
    for (const run of [plain, looked, everything]) run.dispose();
  });

  it("leaves masked keys out: rows padded on the left equal single rows", () => {
    const row = randomTokens(1, 19, 96)[0]!;
    const pad = 4;
    const padded = forward(model, {
      tokens: [[...new Array(pad).fill(0), ...row]],
      positions: [[...new Array(pad).fill(0), ...row.keys()]],
      keyMask: [[...new Array(pad).fill(0), ...row.map(() => 1)]],
      logitsAt: "last",
    });
    const single = forward(model, { tokens: [row], logitsAt: "last" });
    expect(maxDifference(padded.logits!, single.logits!)).toBeLessThan(2e-4);
    padded.dispose();
    single.dispose();
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
    expect(() => forward(model, { tokens: [[1, 96]] })).toThrow(refused("input", { message: "row 0, position 1" }));
    expect(() => forward(model, { tokens: [[]] })).toThrow(refused("input"));
    expect(() => forward(model, { tokens: randomTokens(1, 1201, 96) })).toThrow(refused("input"));
    expect(() => forward(model, { tokens: [[1]] }, { names: ["blocks.0.attn.hook_patern"] })).toThrow(
      refused("usage", { subject: "blocks.0.attn.hook_patern" }),
    );
    expect(() => forward(model, { tokens: [[1]] }, { names: ["blocks.7.attn.hook_pattern"] })).toThrow(
      refused("usage"),
    );
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
    const size = Math.max(10, ...whole.logits!.dataSync().map(Math.abs));
    const cache = new KvCache(other.config, { rows: 2, capacity: 32 });
    forward(other, { tokens: tokens.map((r) => r.slice(0, 10)), cache }).dispose();
    for (let t = 10; t < 14; t++) {
      const step = forward(other, { tokens: tokens.map((r) => [r[t]!]), cache });
      // Without norms logits reach hundreds, and float32 keeps seven digits.
      expect(apart(step.logits!, whole.logits!, [0, t, 0])).toBeLessThan(3e-5 * size);
      step.dispose();
    }
    for (const made of [whole, cache, other]) made.dispose();
  });
});
