import { beforeAll, describe, expect, it } from "vitest";
import type { Intervention } from "../../../../backend/hooks/intervention-schema.ts";
import { runWithCache } from "../../../../backend/hooks/run.ts";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

const SCORES = "blocks.1.attn.hook_attn_scores";
const PATTERN = "blocks.1.attn.hook_pattern";

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

/** Pattern of layer 1 [heads][query][key] and the streams after it [positions][d_model]. */
function layerOne(ids: number[], interventions: Intervention[], own = model) {
  const names = [PATTERN, "blocks.1.hook_resid_post"];
  const { logits, cache } = runWithCache(own, [ids], { names, interventions });
  const read = (name: string) => tf.tidy(() => cache.get(name).squeeze([0]).arraySync());
  const found = { pattern: read(PATTERN) as number[][][], stream: read(names[1]!) as number[][] };
  logits!.dispose();
  cache.dispose();
  return found;
}

describe("the causal mask holds after a change of scores or patterns", () => {
  const ids = [3, 17, 5, 9, 44, 23, 8];
  const blocking = (value: number): Intervention => ({
    at: SCORES,
    do: "add",
    with: [[[ids.map((_, k) => (k < 3 ? value : 0))]]],
  });
  const changes: [string, Intervention][] = [
    ...[-1e9, -1e30, -3e38].map((value): [string, Intervention] => [`keys lowered by ${value}`, blocking(value)]),
    ["scores scaled by a negative number", { at: SCORES, do: "scale", with: -1 }],
    ["scores of 0 everywhere", { at: SCORES, do: "zero" }],
    ["a pattern of ones", { at: PATTERN, do: "patch", with: 1 }],
    ["a pattern raised", { at: PATTERN, do: "add", with: 0.2 }],
  ];

  it.each(changes)("%s: no query sees a later token", (_, change) => {
    const { pattern, stream } = layerOne(ids, [change]);
    for (const head of pattern) for (const [q, row] of head.entries()) for (const [k, a] of row.entries()) if (k > q) expect(a).toBe(0); // biome-ignore format: one loop
    const other = layerOne([...ids.slice(0, 6), 50], [change]).stream;
    for (let t = 0; t < 6; t++) for (const [i, x] of stream[t]!.entries()) expect(x).toBeCloseTo(other[t]![i]!, 5);
  });

  it.each([-1e9, -1e30, -3e38])("a query all of whose keys are lowered by %s attends to nothing", (value) => {
    const { pattern } = layerOne(ids, [blocking(value)]);
    for (const head of pattern) {
      expect(head[2]).toEqual(new Array(7).fill(0));
      expect(head[6]!.slice(0, 3)).toEqual([0, 0, 0]);
      expect(head[6]!.reduce((a, b) => a + b)).toBeCloseTo(1, 5);
    }
  });

  it("and hooks that give -Infinity, captured or not, leave no NaN", () => {
    const result = forward(
      model,
      { tokens: [ids], logitsAt: "all" },
      { hooks: [[SCORES, (t) => tf.fill(t.shape, Number.NEGATIVE_INFINITY)]], names: [PATTERN] },
    );
    expect([...result.activations.get(PATTERN)!.dataSync()].every((x) => x === 0)).toBe(true);
    expect([...result.logits!.dataSync()].every(Number.isFinite)).toBe(true);
    result.dispose();
  });

  it("in a sliding window and over a cache too", () => {
    const windowed = randomModel(smallConfig({ window_size: 4 }));
    for (const own of [model, windowed]) {
      const tokens = randomTokens(1, 9, 96);
      const whole = forward(own, { tokens, logitsAt: "last" }, { names: [PATTERN], hooks: [[SCORES, (t) => tf.mul(t, 0)]] }); // biome-ignore format: a call
      const cache = new KvCache(own.config, { capacity: 32 });
      forward(own, { tokens: [tokens[0]!.slice(0, 5)], cache }, { hooks: [[SCORES, (t) => tf.mul(t, 0)]] }).dispose();
      const rest = forward(own, { tokens: [tokens[0]!.slice(5)], cache, logitsAt: "last" }, { names: [PATTERN], hooks: [[SCORES, (t) => tf.mul(t, 0)]] }); // biome-ignore format: a call
      expect(maxDifference(whole.logits!, rest.logits!)).toBeLessThan(2e-4);
      const last = tf.slice(whole.activations.get(PATTERN)!, [0, 0, 5, 0], [1, -1, -1, -1]);
      expect(maxDifference(last, rest.activations.get(PATTERN)!)).toBeLessThan(1e-5);
      last.dispose();
      whole.dispose();
      rest.dispose();
      cache.dispose();
    }
  });
});
