import { beforeAll, describe, expect, it } from "vitest";
import { attribute } from "../../../../backend/circuits/attribution/direct.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";
import { circuitOracle, FAMILIES, loadFamily } from "../../../helpers/oracles/circuits.ts";
import { farthest } from "../../../helpers/oracles/differences.ts";

beforeAll(() => initBackend());

const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

it.each(FAMILIES)("the parts of %s are PyTorch's, and add up along the stream and in MLPs", async (name) => {
  const model = await loadFamily(name);
  const { pairs, attribution } = circuitOracle(name);
  for (const { pairs: which, ...theirs } of attribution) {
    const prompts = which.map((p) => pairs[p]!);
    const { logitDiff, sum, parts, accumulated, neurons } = await attribute(model, { prompts, neurons: [1, 0] });
    expect(farthest({ logitDiff, sum, parts }, theirs)).toBeLessThan(2e-4);
    expect(Math.abs(sum - logitDiff)).toBeLessThan(1e-4);
    const streams = accumulated.filter(({ at }) => !at.endsWith("mid")).map(({ value }) => value);
    expect(streams[0]).toBeCloseTo(parts.embed + parts.posEmbed, 4);
    for (const layer of [0, 1]) {
      const written = total(parts.heads[layer]!) + parts.attnBias[layer]! + parts.mlps[layer]!;
      expect(streams[layer + 1]! - streams[layer]!).toBeCloseTo(written, 4);
    }
    expect(neurons!.map(({ layer }) => layer)).toEqual([1, 0]);
    for (const { layer, values, bias } of neurons!) expect(total(values) + bias).toBeCloseTo(parts.mlps[layer]!, 4);
  }
  model.dispose();
});

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
    expect(third.logitDiff / alone.logitDiff).toBeCloseTo(1, 5);
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

  it("is of the changed model under interventions, and names what they put into the stream", async () => {
    const model = randomModel(smallConfig());
    const zero = { at: "attn.hook_z", layer: 1, heads: [2], do: "zero" } as { at: string; do: "zero" };
    const without = await attribute(model, { prompts: [prompt], interventions: [zero] });
    expect(without.parts.heads[1]![2]).toBeCloseTo(0, 6);
    expect(without.parts.interventions).toBeCloseTo(0, 3);
    const vector = Array.from({ length: model.config.d_model }, (_, i) => Math.sin(i));
    const add = { at: "hook_resid_pre", layer: 1, do: "add" as const, with: vector };
    const steered = await attribute(model, { prompts: [prompt], interventions: [add] });
    const at = (name: string) => steered.accumulated.find((point) => point.at === name)!.value;
    const { parts } = steered;
    const before = parts.embed + total(parts.heads[0]!) + parts.attnBias[0]! + parts.mlps[0]!;
    expect(parts.interventions).toBeCloseTo(at("blocks.1.hook_resid_pre") - before, 3);
    expect(steered.sum).toBeCloseTo(steered.logitDiff, 3);
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
