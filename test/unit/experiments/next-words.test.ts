import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { forward } from "../../../backend/models/forward/forward.ts";
import type { Model } from "../../../backend/models/model.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { pause } from "../../../backend/runtime/turn.ts";
import { meanInterval, meansLine, meanText } from "../../../experiments/intervals.ts";
import { wordLogProbs } from "../../../experiments/next-words.ts";
import { randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";

describe("log-probabilities of words", () => {
  let model: Model;
  beforeAll(async () => {
    await initBackend();
    model = randomModel(smallConfig());
  });
  afterAll(() => model.dispose());

  /** What the whole model says behind a prompt that runs alone. */
  function alone(tokens: readonly number[], words: readonly number[]): number[] {
    const run = forward(model, { tokens: [tokens], logitsAt: "last" });
    const logits = [...run.logits!.dataSync()];
    run.dispose();
    const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
    return words.map((id) => logits[id]! - total);
  }

  it("are those of each prompt alone, whatever the others' lengths, and leave no tensor", async () => {
    const prompts = [3, 11, 6, 11].map((length, i) => ({ tokens: randomTokens(1, length, 96, i)[0]!, words: [i, 5, 70] }));
    await wordLogProbs(model, prompts, { turn: pause });
    const tensors = tf.memory().numTensors;
    const found = await wordLogProbs(model, prompts, { turn: pause });
    expect(tf.memory().numTensors).toBe(tensors);
    for (const [i, { tokens, words }] of prompts.entries())
      alone(tokens, words).forEach((value, w) => {
        expect(found[i]![w]).toBeCloseTo(value, 4);
      });
  }); // biome-ignore format: long lines of one call

  it("take changes at the end of each prompt", async () => {
    const prompts = [4, 9].map((length, i) => ({ tokens: randomTokens(1, length, 96, i)[0]!, words: [1, 2] }));
    const changes = (rows: readonly (readonly number[])[]) =>
      rows.map((row, r) => ({ at: "blocks.2.hook_resid_post", do: "zero" as const, positions: [row.length - 1], rows: [r] }));
    // The last stream is 0 then, and all tokens are as likely.
    for (const values of await wordLogProbs(model, prompts, { turn: pause, changes }))
      for (const value of values) expect(value).toBeCloseTo(-Math.log(96), 4);
  }); // biome-ignore format: long lines of one call
});

describe("means with intervals", () => {
  it("hold the mean, and nothing of a single item", () => {
    expect(meanInterval([0.5])).toEqual({ value: 0.5, low: null, high: null });
    expect(meanText([1, 1, 1])).toBe("1.00 (1.00 to 1.00)");
    const { value, low, high } = meanInterval([0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    // 0.5 ± 1.96 sqrt(0.25 / 10) = 0.5 ± 0.31, in tenths.
    expect([value, low, high]).toEqual([0.5, expect.closeTo(0.2, 10), expect.closeTo(0.8, 10)]);
  });

  it("are a figure's points and whiskers", () => {
    const { x, y, whiskers } = meansLine("line", [1, 2], [[0, 0], [1, 1]]); // biome-ignore format: one line
    expect({ x, y, whiskers }).toEqual({ x: [1, 2], y: [0, 1], whiskers: { low: [0, 1], high: [0, 1] } });
  });
});
