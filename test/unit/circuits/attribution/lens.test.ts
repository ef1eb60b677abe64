import { beforeAll, describe, expect, it } from "vitest";
import { lens } from "../../../../backend/circuits/attribution/lens.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { FAMILIES, FAMILY_PAIR, loadFamily, randomModel, smallConfig } from "../../../helpers/models.ts";

beforeAll(() => initBackend());

describe("the logit lens", () => {
  it.each(FAMILIES)("of %s is the model cut short at every layer", async (name) => {
    const model = await loadFamily(name);
    const { answer, wrong, clean } = FAMILY_PAIR;
    const { n_layers } = model.config;
    const { rows } = await lens(model, { prompts: [FAMILY_PAIR], top: 3 });
    expect(rows.map(({ at }) => at)).toEqual([
      ...Array.from({ length: n_layers }, (_, l) => `blocks.${l}.hook_resid_pre`),
      `blocks.${n_layers - 1}.hook_resid_post`,
    ]);
    for (const [layer, row] of rows.entries()) {
      const { resid } = forward(model, { tokens: [clean], stopLayer: layer, logitsAt: "none" });
      const cut = forward(model, { resid, startLayer: n_layers, logitsAt: "last" });
      const logits = [...cut.logits!.dataSync()];
      expect(row.answer).toBeCloseTo(logits[answer]!, 4);
      expect(row.wrong).toBeCloseTo(logits[wrong]!, 4);
      expect(row.rank).toBe(logits.filter((logit) => logit > logits[answer]!).length);
      const best = logits.map((logit, id) => ({ id, logit })).toSorted((a, b) => b.logit - a.logit);
      expect(row.top.map(({ id }) => id)).toEqual(best.slice(0, 3).map(({ id }) => id));
      expect(row.top[0]!.logit).toBeCloseTo(best[0]!.logit, 4);
      tf.dispose(resid);
      cut.dispose();
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
