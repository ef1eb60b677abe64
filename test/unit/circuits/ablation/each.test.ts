import { beforeAll, describe, expect, it } from "vitest";
import { ablateEach } from "../../../../backend/circuits/ablation/each.ts";
import { patch } from "../../../../backend/circuits/patching/patch.ts";
import type { Intervention } from "../../../../backend/hooks/intervention-schema.ts";
import { runWithHooks } from "../../../../backend/hooks/run.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { refused } from "../../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

let model: Model;
const [clean, corrupt] = randomTokens(2, 6, 96) as [number[], number[]];
const pair = { clean, corrupt, answer: 5, wrong: 70 };
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

/** Metric of the clean prompt with interventions, op by op of the library's runs. */
function without(interventions: Intervention[]): number {
  const logits = runWithHooks(model, [clean], { logitsAt: "last", interventions })!;
  const values = logits.dataSync();
  logits.dispose();
  return values[5]! - values[70]!;
}

describe("ablation of each part in turn", () => {
  it("takes out the part that it names", async () => {
    const zero = { do: "zero" } as const;
    const heads = await ablateEach(model, { pairs: [pair], each: "head" });
    expect(heads.ablated.map((row) => row.length)).toEqual([6, 6, 6]);
    expect(heads.ablated[1]![4]).toBeCloseTo(without([{ at: "attn.hook_z", layer: 1, heads: [4], ...zero }]), 3);
    const others = heads.ablated[1]!.filter((_, h) => h !== 4);
    expect(heads.control[1]![4]).toBeCloseTo(others.reduce((a, b) => a + b, 0) / 5, 4);
    const mlps = await ablateEach(model, { pairs: [pair], each: "mlp" });
    expect(mlps.ablated[2]![0]).toBeCloseTo(without([{ at: "hook_mlp_out", layer: 2, ...zero }]), 3);
    expect(mlps.control[2]![0]).toBeCloseTo((mlps.ablated[0]![0]! + mlps.ablated[1]![0]!) / 2, 4);
    const layers = await ablateEach(model, { pairs: [pair], each: "layer" });
    const both = ["hook_attn_out", "hook_mlp_out"].map((at) => ({ at, layer: 0, ...zero }));
    expect(layers.ablated[0]![0]).toBeCloseTo(without(both), 3);
  });

  it("knocks the last token's attention to each source token out, in one layer or a window of them", async () => {
    const out = (layer: number): Intervention => ({
      at: "attn.hook_attn_scores", layer, positions: [5], keys: [2], do: "knock-out",
    }); // biome-ignore format: one object
    const one = await ablateEach(model, { pairs: [pair], each: "source" });
    expect(one.method).toBe("knock-out");
    expect(one.ablated[1]).toHaveLength(6);
    expect(one.ablated[1]![2]).toBeCloseTo(without([out(1)]), 3);
    const before = tf.memory().numTensors;
    const wide = await ablateEach(model, { pairs: [pair], each: "source", window: 3 });
    expect(tf.memory().numTensors).toBe(before);
    expect(wide.ablated[1]![2]).toBeCloseTo(without([0, 1, 2].map(out)), 3);
    expect(wide.ablated[0]![2]).toBeCloseTo(without([0, 1].map(out)), 3);
  });

  it("puts means over all prompts, or what the corrupt prompt has there", async () => {
    const mean = await ablateEach(model, { pairs: [pair], each: "head", method: "mean" });
    const put = { do: "mean", with: { tokens: [clean, corrupt] } } as const;
    expect(mean.ablated[0]![3]).toBeCloseTo(without([{ at: "attn.hook_z", layer: 0, heads: [3], ...put }]), 3);
    const resample = await ablateEach(model, { pairs: [pair], each: "head", method: "resample" });
    const noise = await patch(model, { pairs: [pair], node: "z", by: "head", direction: "noise" });
    for (const [l, row] of noise.patched.entries())
      for (const [h, value] of row.entries()) expect(resample.ablated[l]![h]).toBeCloseTo(value, 4);
  });

  it("averages over pairs of any lengths, with intervals, but source tokens of one length", async () => {
    const short = { ...pair, clean: clean.slice(1), corrupt: corrupt.slice(1) };
    const both = await ablateEach(model, { pairs: [pair, short], each: "mlp", metric: "log-probability" });
    const [low, high] = both.interval!.ablated[0]![0]!;
    expect((low + high) / 2).toBeCloseTo(both.ablated[0]![0]!, 4);
    await expect(ablateEach(model, { pairs: [pair, short], each: "source" })).rejects.toEqual(refused("input"));
    await expect(ablateEach(model, { pairs: [pair], each: "source", window: 2 })).rejects.toEqual(refused("usage"));
    const bare = randomModel(smallConfig({ attn_only: true }));
    await expect(ablateEach(bare, { pairs: [pair], each: "mlp" })).rejects.toEqual(refused("usage"));
    bare.dispose();
  });
});
