import { beforeAll, describe, expect, it } from "vitest";
import { lens } from "../../../../backend/circuits/attribution/lens.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";
import { circuitOracle, FAMILIES, loadFamily } from "../../../helpers/oracles/circuits.ts";
import { farthest } from "../../../helpers/oracles/differences.ts";

beforeAll(() => initBackend());

describe("the logit lens", () => {
  it.each(FAMILIES)("of %s is PyTorch's", async (name) => {
    const model = await loadFamily(name);
    const { pairs, lens: theirs } = circuitOracle(name);
    for (const { position, rows } of theirs) {
      const ours = await lens(model, { prompts: [pairs[0]!], position });
      expect(ours.rows.map(({ at }) => at)).toEqual(rows.map(({ at }) => at));
      expect(farthest(ours.rows, rows)).toBeLessThan(2e-4);
    }
    model.dispose();
  });

  const prompt = { clean: [1, 2, 3, 4, 5], answer: 7, wrong: 9 };

  it("reads any position, is the mean over prompts of any lengths, and keeps no tensor", async () => {
    const model = randomModel(smallConfig());
    const cut = { ...prompt, clean: [1, 2, 3] };
    const [third, alone, other] = [
      await lens(model, { prompts: [prompt], position: -3 }),
      await lens(model, { prompts: [cut] }),
      await lens(model, { prompts: [prompt] }),
    ];
    expect(third.rows[2]!.answer).toBeCloseTo(alone.rows[2]!.answer, 5);
    const before = tf.memory().numTensors;
    const both = await lens(model, { prompts: [cut, prompt], top: 96 });
    expect(tf.memory().numTensors).toBe(before);
    const row = both.rows[1]!;
    expect(row.answer).toBeCloseTo((alone.rows[1]!.answer + other.rows[1]!.answer) / 2, 5);
    expect(row.rank).toBe((alone.rows[1]!.rank + other.rows[1]!.rank) / 2);
    expect(row.top.find(({ id }) => id === prompt.answer)!.logit).toBeCloseTo(row.answer, 5);
    model.dispose();
  });

  it("reads the stream of the changed model under interventions", async () => {
    const model = randomModel(smallConfig());
    const zero = { at: "hook_mlp_out", layer: 0, do: "zero" as const };
    const [plain, changed] = [
      await lens(model, { prompts: [prompt] }),
      await lens(model, { prompts: [prompt], interventions: [zero] }),
    ];
    expect(changed.rows[0]!.answer).toBeCloseTo(plain.rows[0]!.answer, 5);
    expect(Math.abs(changed.rows[1]!.answer - plain.rows[1]!.answer)).toBeGreaterThan(1e-3);
    model.dispose();
  });

  it.each([
    ["usage", { prompts: [prompt], position: 5 }],
    ["usage", { prompts: [prompt], top: -1 }],
    ["input", { prompts: [{ ...prompt, wrong: 7 }] }],
  ])("refuses as %s what cannot be: %j", async (kind, options) => {
    const model = randomModel(smallConfig());
    await expect(lens(model, options as never)).rejects.toMatchObject({ kind });
    model.dispose();
  });
});
