import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { circuitValues, measureCircuit } from "../../../../experiments/icl-circuit/measure.ts";
import {
  drawPrompts,
  LABELLED_TEXTS,
  labelTokens,
  promptTokens,
} from "../../../../synthetic-tasks/demonstrations/index.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";
import { wordModel } from "../../../helpers/word-model.ts";

const SETTINGS = { seed: 5, prompts: 4, shots: 4, spans: 2, draws: 1, multiple: 1 };

describe("a measurement of the circuit on a small random model", () => {
  const [texts] = LABELLED_TEXTS;
  const told: number[] = [];
  const means = { progress: (done: number, total: number) => void told.push(done / total), signal: new AbortController().signal };
  let model: Model;
  beforeAll(async () => {
    await initBackend();
    const { ref, family, digest, config, weights } = randomModel(smallConfig({ d_vocab: 400 }));
    model = new Model({ ref, family, digest, config, weights, tokenizer: wordModel().tokenizer });
  });
  afterAll(() => model.dispose());

  it("counts the answers of the plain model, is complete, and leaves no tensor", async () => {
    const first = await measureCircuit(model, texts!, SETTINGS, means);
    const tensors = tf.memory().numTensors;
    const values = await measureCircuit(model, texts!, SETTINGS, means);
    expect(tf.memory().numTensors).toBe(tensors);
    expect(values).toEqual(first);
    expect(circuitValues.parse(values)).toEqual(values);
    expect(Object.values(values.steps).map((runs) => runs.length)).toEqual([3, 3, 3, 3]);
    expect(told.at(-1)).toBe(1);

    const labels = labelTokens(model, texts!);
    const prompts = drawPrompts(texts!, { count: 4, shots: 4 }, new Random(SETTINGS.seed));
    const wanted = prompts.map((prompt) => {
      const run = forward(model, { tokens: [promptTokens(model, texts!, prompt).tokens], logitsAt: "last" });
      const logits = run.logits!.dataSync();
      run.dispose();
      const among = labels.map((id) => logits[id]!);
      return Number(among.indexOf(Math.max(...among)) === prompt.query.label);
    });
    expect(values.clean.among).toEqual(wanted);
  });

  it("stops where its signal says so, and leaves no tensor", async () => {
    const tensors = tf.memory().numTensors;
    const controller = new AbortController();
    const progress = (done: number): void => void (done === 4 && controller.abort(new Error("stop")));
    await expect(measureCircuit(model, texts!, SETTINGS, { progress, signal: controller.signal })).rejects.toThrow("stop");
    expect(tf.memory().numTensors).toBe(tensors);
  });
}); // biome-ignore format: long lines of one call
