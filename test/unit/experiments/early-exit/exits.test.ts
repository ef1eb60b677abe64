import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { judge } from "../../../../experiments/early-exit/early-exit.ts";
import { accuracyAfter, alreadyRight, exitAt, thresholdFor } from "../../../../experiments/early-exit/exits.ts";
import { type LensValues, lensReadings } from "../../../../experiments/early-exit/measure.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";
import { wordModel } from "../../../helpers/word-model.ts";

/** Four tokens of a model of four layers: right from layer 1, from 2, never early, and wrong at the end. */
const TEXT: LensValues = {
  targets: [1, 2, 3, 4],
  likeliest: [[9, 9, 9, 9], [1, 9, 9, 9], [1, 2, 9, 9], [1, 2, 9, 9], [1, 2, 3, 9]],
  confidence: [[0.9, 0.1, 0.1, 0.1], [0.9, 0.1, 0.1, 0.6], [0.9, 0.8, 0.1, 0.6], [0.9, 0.9, 0.1, 0.6], [1, 1, 1, 1]],
}; // biome-ignore format: a line a part

describe("leaving a model early", () => {
  it("counts what is right after some layers, of all tokens and of those right at the end", () => {
    expect([0, 1, 2, 4].map((layers) => accuracyAfter(TEXT, layers))).toEqual([0, 0.25, 0.5, 0.75]);
    expect([0, 1, 2, 4].map((layers) => alreadyRight(TEXT, layers))).toEqual([0, 1 / 3, 2 / 3, 1]);
    expect(alreadyRight({ ...TEXT, targets: [5, 5, 5, 5] }, 2)).toBeNaN();
  });

  it("happens at the first confident layer, after one at the earliest", () => {
    // After 1, 2, 4 and 4 of 4 layers.
    expect(exitAt(TEXT, 0.8)).toEqual({ accuracy: 0.75, saved: 1 - 11 / 16 });
    // After 1, 2, 4 and 1: the last one is wrong anyhow.
    expect(exitAt(TEXT, 0.5)).toEqual({ accuracy: 0.75, saved: 0.5 });
    expect(exitAt(TEXT, 0.05)).toEqual({ accuracy: 0.25, saved: 0.75 });
    expect(exitAt(TEXT, 1.1)).toEqual({ accuracy: 0.75, saved: 0 });
  });

  it("goes by the least threshold behind which nothing falls short", () => {
    expect(thresholdFor([TEXT], 1)).toBe(0.2);
    expect(thresholdFor([{ ...TEXT, confidence: TEXT.confidence.map(() => [1, 1, 1, 1]) }], 1)).toBe(1.1);
  });
});

describe("the claims on early exits", () => {
  const verdicts = (text: LensValues) =>
    Object.fromEntries(judge([text, text, text, text]).map(({ id, verdict }) => [id, verdict]));

  it("are borne out by a text that is right early where the model is confident", () => {
    expect(new Set(Object.values(verdicts(TEXT)))).toEqual(new Set(["reproduced"]));
  });

  it("on the confidence are not where it is the same for all tokens", () => {
    const alike = { ...TEXT, confidence: TEXT.confidence.map((_, layers) => Array(4).fill(layers < 2 ? 0 : 1)) };
    expect(verdicts(alike)["confidence-chooses"]).toBe("not reproduced");
  });

  it("are not by one that is right at the end alone", () => {
    const late = { ...TEXT, likeliest: TEXT.likeliest.map((row, layers) => (layers < 4 ? [9, 9, 9, 9] : row)) };
    expect(verdicts(late)).toMatchObject({ "right-half-way": "not reproduced", "layers-saved": "not reproduced" });
  });
});

describe("readings through the logit lens", () => {
  let model: Model;
  beforeAll(async () => {
    await initBackend();
    const { ref, family, digest, config, weights } = randomModel(smallConfig({ d_vocab: 200 }));
    model = new Model({ ref, family, digest, config, weights, tokenizer: wordModel().tokenizer });
  });
  afterAll(() => model.dispose());
  const means = { progress: () => {}, signal: new AbortController().signal };
  const text = "one two three four five six seven eight nine ten";

  it("end with the model's own likeliest tokens and their probabilities, and leave no tensor", async () => {
    await lensReadings(model, { text, tokens: 8 }, means);
    const tensors = tf.memory().numTensors;
    const values = await lensReadings(model, { text, tokens: 8 }, means);
    expect(tf.memory().numTensors).toBe(tensors);
    expect([values.likeliest.length, values.confidence.length]).toEqual([4, 4]);
    const ids = model.tokenizer!.encode(text);
    expect(values.targets).toEqual(ids.slice(1, 9));
    const run = forward(model, { tokens: [ids.slice(0, 8)] });
    const logits = (await run.logits!.array()) as number[][][];
    run.dispose();
    for (const [position, row] of logits[0]!.entries()) {
      const most = Math.max(...row);
      expect(values.likeliest.at(-1)![position]).toBe(row.indexOf(most));
      const probability = 1 / row.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
      expect(values.confidence.at(-1)![position]).toBeCloseTo(probability, 4);
    }
  });

  it("are refused of a text that is too short, with the most that it has", async () => {
    await expect(lensReadings(model, { text, tokens: 40 }, means)).rejects.toMatchObject({
      kind: "usage",
      field: "tokens",
    });
  });
});
