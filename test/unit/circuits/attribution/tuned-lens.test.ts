import { beforeAll, describe, expect, it } from "vitest";
import { lens } from "../../../../backend/circuits/attribution/lens.ts";
import { tuneLens } from "../../../../backend/circuits/attribution/tuned-lens.ts";
import { runWithCache } from "../../../../backend/hooks/run.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { refused } from "../../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

const text = randomTokens(8, 64, 96);
const prompt = { clean: [1, 2, 3, 4, 5], answer: 7, wrong: 9 };

describe("the tuned lens", () => {
  it("reads held-out tokens nearer to the model than the logit lens does, the more so the later the layer", async () => {
    const plain = await lens(model, { prompts: [prompt] });
    const before = tf.memory().numTensors;
    const tuned = await tuneLens(model, { tokens: text });
    expect(tuned).toMatchObject({ fitted: 8 * 63 - 64, heldOut: 64 });
    expect(tuned.quality.map(({ at }) => at)).toEqual([0, 1, 2].map((layer) => `blocks.${layer}.hook_resid_pre`));
    for (const { logit, tuned: own } of tuned.quality) expect(own).toBeLessThan(0.9 * logit);
    expect(tuned.quality[2]!.tuned).toBeLessThan(tuned.quality[0]!.tuned);
    const { rows } = await lens(model, { prompts: [prompt], tuned });
    expect(rows.map(({ tuned: _, ...row }) => row)).toEqual(plain.rows);
    expect(rows[3]!.tuned!.answer).toBeCloseTo(rows[3]!.answer, 5);
    expect(rows[1]!.tuned!.top).toHaveLength(5);
    tuned.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("is the least squares of its text: what it leaves is no linear function of the stream", async () => {
    const tuned = await tuneLens(model, { tokens: text, ridge: 0, heldOut: 1 });
    const { cache } = runWithCache(model, text, { logitsAt: "none" });
    const [worst, spread] = tf.tidy(() => {
      const all = (name: string) => tf.reshape(tf.slice(cache.get(name), [0, 1], [8, 63]), [8 * 63, 48]);
      const x = all("blocks.1.hook_resid_pre");
      const left = tf.sub(all("blocks.2.hook_resid_post"), tuned.apply(1, x));
      const centred = tf.sub(x, tf.mean(x, 0, true));
      const covariance = tf.div(tf.matMul(centred as never, left as never, true), 8 * 63);
      const scale = tf.sqrt(tf.mul(tf.mean(tf.square(centred)), tf.mean(tf.square(left))));
      return [tf.max(tf.abs(covariance)), scale].map((t) => t.dataSync()[0]!);
    }) as unknown as [number, number];
    // One token of five hundred was held out.
    expect(worst / spread).toBeLessThan(0.05);
    cache.dispose();
    tuned.dispose();
  });

  it("with a large penalty is the logit lens, but for the mean", async () => {
    const tuned = await tuneLens(model, { tokens: text, ridge: 1e6 });
    const [a, b] = [tf.ones([1, 48]), tf.mul(tf.ones([1, 48]), 3)];
    const [x, y] = [tuned.apply(0, a), tuned.apply(0, b)];
    for (const [i, value] of y.dataSync().entries()) expect(value - x.dataSync()[i]!).toBeCloseTo(2, 3);
    tf.dispose([a, b, x, y]);
    tuned.dispose();
  });

  it.each([
    ["input", { tokens: [[1, 2, 3]] }],
    ["input", { tokens: [] }],
    ["input", { tokens: [[1, 200]] }],
    ["usage", { tokens: text, ridge: -1 }],
  ] as const)("refuses as %s what cannot be", async (kind, options) => {
    await expect(tuneLens(model, options as never)).rejects.toEqual(refused(kind));
  });
});
