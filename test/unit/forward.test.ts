import { beforeAll, describe, expect, it } from "vitest";
import { forward } from "../../backend/models/forward.ts";
import { hookNames } from "../../backend/models/hook-points.ts";
import { KvCache } from "../../backend/models/kv-cache.ts";
import type { Model } from "../../backend/models/model.ts";
import { initBackend } from "../../backend/runtime/backend.ts";
import { functions } from "../../backend/runtime/capture.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../helpers/models.ts";

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
    const eager = forward(model, { tokens, logitsAt: [0, 300, 700, -1] }, { names: ["blocks.1.attn.hook_z"], captured: false });
    expect(maxDifference(long.logits!, eager.logits!)).toBeLessThan(5e-4);
    expect(maxDifference(long.activations.get("blocks.1.attn.hook_z")!, eager.activations.get("blocks.1.attn.hook_z")!)).toBeLessThan(5e-4);
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
});
