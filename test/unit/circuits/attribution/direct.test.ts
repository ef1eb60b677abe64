import { beforeAll, describe, expect, it } from "vitest";
import { attribute } from "../../../../backend/circuits/attribution/direct.ts";
import type { CacheSlice } from "../../../../backend/hooks/activation-cache.ts";
import { runWithCache } from "../../../../backend/hooks/run.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { FAMILIES, FAMILY_PAIR, loadFamily, randomModel, smallConfig } from "../../../helpers/models.ts";

beforeAll(() => initBackend());

const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

type Cache = ReturnType<typeof runWithCache>["cache"];

/** Logit difference of a stream from which a part was taken, by the final norm's scale of the whole stream. */
function differenceWithout(model: Model, cache: Cache, part: readonly number[]): number {
  const { n_layers, d_model } = model.config;
  const whole = valuesOf(cache, "hook_resid_post", { layer: n_layers - 1 });
  const resid = tf.tensor3d([[whole.map((x, i) => x - part[i]!)]], [1, 1, d_model]);
  const scale = cache.get("ln_final.hook_scale");
  const hooks = [["ln_final.hook_scale", () => tf.clone(scale)]] as const;
  const result = forward(model, { resid, startLayer: n_layers }, { hooks });
  const values = result.logits!.dataSync();
  tf.dispose(resid);
  result.dispose();
  return values[FAMILY_PAIR.answer]! - values[FAMILY_PAIR.wrong]!;
}

/** The values of an activation at the last position. */
const valuesOf = (cache: Cache, hook: string, part: CacheSlice): number[] => {
  const own = cache.slice(hook, { ...part, position: -1, row: 0 });
  const values = [...own.dataSync()];
  own.dispose();
  return values;
};

it.each(FAMILIES)(
  "the parts of %s add up, along the stream and in MLPs, each to what goes without it",
  async (name) => {
    const model = await loadFamily(name);
    const { clean, answer, wrong } = FAMILY_PAIR;
    const { logitDiff, sum, parts, accumulated, neurons } = await attribute(model, {
      prompts: [FAMILY_PAIR],
      neurons: [1, 0],
    });
    const { logits, cache } = runWithCache(model, [clean], { logitsAt: "last" });
    const values = logits!.dataSync();
    expect(logitDiff).toBeCloseTo(values[answer]! - values[wrong]!, 5);
    expect(Math.abs(sum - logitDiff)).toBeLessThan(1e-4);
    const streams = accumulated.filter(({ at }) => !at.endsWith("mid")).map(({ value }) => value);
    expect(streams[0]).toBeCloseTo(parts.embed + parts.posEmbed, 4);
    expect(neurons!.map(({ layer }) => layer)).toEqual([1, 0]);
    for (const { layer, values, bias } of neurons!) expect(total(values) + bias).toBeCloseTo(parts.mlps[layer]!, 4);
    const without = (part: number[]) => logitDiff - differenceWithout(model, cache, part);
    for (const layer of [0, 1]) {
      const attention = total(parts.heads[layer]!) + parts.attnBias[layer]!;
      expect(streams[layer + 1]! - streams[layer]!).toBeCloseTo(attention + parts.mlps[layer]!, 4);
      if (model.config.output_logits_soft_cap !== undefined) continue; // no linear function of its parts
      expect(without(valuesOf(cache, "hook_attn_out", { layer }))).toBeCloseTo(attention, 4);
      expect(without(valuesOf(cache, "hook_mlp_out", { layer }))).toBeCloseTo(parts.mlps[layer]!, 4);
      // Where no norm stands behind attention a head's output is its result.
      if (model.weights.blocks[layer]!.ln1Post) continue;
      const result = valuesOf(cache, "attn.hook_result", { layer, head: 2 });
      expect(without(result)).toBeCloseTo(parts.heads[layer]![2]!, 4);
    }
    expect(parts.softCap === 0).toBe(model.config.output_logits_soft_cap === undefined);
    tf.dispose(logits!);
    cache.dispose();
    model.dispose();
  },
);

describe("direct logit attribution", () => {
  const prompt = { clean: [1, 2, 3, 4, 5], answer: 7, wrong: 9 };

  it("reads any position, is the mean over prompts of any lengths, and keeps no tensor", async () => {
    const model = randomModel(smallConfig());
    const other = { clean: [9, 8, 7], answer: 3, wrong: 4 };
    const cut = { ...prompt, clean: prompt.clean.slice(0, 3) };
    const [third, alone] = [
      await attribute(model, { prompts: [prompt], position: 2 }),
      await attribute(model, { prompts: [cut] }),
    ];
    expect(third.logitDiff).toBeCloseTo(alone.logitDiff, 5);
    expect(third.parts.heads[2]![5]).toBeCloseTo(alone.parts.heads[2]![5]!, 5);
    const before = tf.memory().numTensors;
    const both = await attribute(model, { prompts: [cut, other] });
    expect(tf.memory().numTensors).toBe(before);
    const second = await attribute(model, { prompts: [other] });
    expect(both.parts.mlps[1]).toBeCloseTo((alone.parts.mlps[1]! + second.parts.mlps[1]!) / 2, 5);
    expect(both.logitDiff).toBeCloseTo((alone.logitDiff + second.logitDiff) / 2, 5);
    model.dispose();
  });

  it("counts 0 for what an attention-only model without norms lacks", async () => {
    const model = randomModel(smallConfig({ attn_only: true, normalization_type: null, final_norm: false }));
    const { logitDiff, sum, parts } = await attribute(model, { prompts: [prompt] });
    expect(parts).toMatchObject({ posEmbed: 0, mlps: [0, 0, 0], finalNormBias: 0, unembedBias: 0, softCap: 0 });
    expect(Math.abs(sum - logitDiff)).toBeLessThan(1e-3);
    await expect(attribute(model, { prompts: [prompt], neurons: [0] })).rejects.toMatchObject({ kind: "usage" });
    model.dispose();
  });

  it("says with numbers that a prompt does not prefer its answer", async () => {
    const model = randomModel(smallConfig());
    const { logitDiff } = await attribute(model, { prompts: [prompt] });
    const swapped = logitDiff > 0 ? { ...prompt, answer: prompt.wrong, wrong: prompt.answer } : prompt;
    const { notes } = await attribute(model, { prompts: [swapped] });
    expect(notes).toHaveLength(1);
    expect(notes![0]).toContain((-Math.abs(logitDiff)).toFixed(3));
    model.dispose();
  });

  it.each([
    ["usage", { prompts: [prompt], position: 5 }],
    ["usage", { prompts: [prompt], position: -6 }],
    ["usage", { prompts: [prompt], neurons: [3] }],
    ["input", { prompts: [] }],
    ["input", { prompts: [{ ...prompt, wrong: 7 }] }],
    ["input", { prompts: [{ ...prompt, answer: 96 }] }],
    ["input", { prompts: [{ clean: [1, 2], answer: 7 }] }],
    ["unsupported", { prompts: [{ ...prompt, clean: "a text" }] }],
  ])("refuses as %s what cannot be: %j", async (kind, options) => {
    const model = randomModel(smallConfig());
    await expect(attribute(model, options as never)).rejects.toMatchObject({ kind });
    model.dispose();
  });
});
