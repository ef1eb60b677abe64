import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nextTokenLosses } from "../../../../backend/circuits/loss.ts";
import { Model } from "../../../../backend/models/model.ts";
import { encodeText } from "../../../../backend/models/tokens.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { PASSAGES } from "../../../../experiments/early-exit/passages.ts";
import { functionVectorsExperiment } from "../../../../experiments/steering/function-vectors.ts";
import { inContextVectorsExperiment } from "../../../../experiments/steering/in-context-vectors.ts";
import { judgeDemonstrations, judgeDial } from "../../../../experiments/steering/judge.ts";
import {
  measureFunctionVector,
  measureInContextVectors,
  type SteeringValues,
  splitWords,
  steeringValues,
} from "../../../../experiments/steering/measure.ts";
import { LABELLED_TEXTS } from "../../../../synthetic-tasks/demonstrations/index.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";
import { wordModel } from "../../../helpers/texts/word-model.ts";

const [reviews] = LABELLED_TEXTS;
const means = { progress: () => {}, signal: new AbortController().signal };

it("words that vectors are judged by stand in none of their examples", () => {
  const { shown, judged } = splitWords(reviews!, "quality");
  const words = shown.slots.flatMap(({ quality }) => quality!);
  expect(judged.flat().filter((word) => words.includes(word))).toEqual([]);
  expect(judged.map(({ length }) => length)).toEqual([5, 5]);
  expect([...words, ...judged.flat()].sort()).toEqual(reviews!.slots.flatMap(({ quality }) => quality!).sort());
});

describe("vectors as dials of a small random model", () => {
  let model: Model;
  beforeAll(async () => {
    await initBackend();
    const { ref, family, digest, config, weights } = randomModel(smallConfig({ d_vocab: 1000 }));
    model = new Model({ ref, family, digest, config, weights, tokenizer: wordModel().tokenizer });
  });
  afterAll(() => model.dispose());

  const settings = { seed: 1, examples: 4, prompts: 4, dial: [-0.5, 0, 0.5] };

  it("leave the model as it is at 0, turn it elsewhere, and leave no tensor", async () => {
    const measure = () => measureInContextVectors(model, { texts: reviews!, slot: "quality" }, settings, means);
    const first = await measure();
    const tensors = tf.memory().numTensors;
    const values = await measure();
    expect(tf.memory().numTensors).toBe(tensors);
    expect(values).toEqual(first);
    expect(steeringValues.parse(values)).toEqual(values);
    expect(values.own.behaviour[1]).toEqual(values.random.behaviour[1]);
    expect(values.own.behaviour[2]).not.toEqual(values.own.behaviour[1]);
    expect(values.own.behaviour.flat().every((share) => share > 0 && share < 1)).toBe(true);
    const neutral = PASSAGES.filter(({ kind }) => kind === "prose").map(({ text }) => encodeText(model, text).slice(0, 96)); // biome-ignore format: one line
    expect(values.own.loss[1]).toBeCloseTo(nextTokenLosses(model, neutral).loss, 4);
  });

  it("of a task are added at the prompts' ends, and leave no tensor", async () => {
    const measure = () => measureFunctionVector(model, reviews!, { ...settings, examples: 2, dial: [0, 1] }, means);
    await measure();
    const tensors = tf.memory().numTensors;
    const values = await measure();
    expect(tf.memory().numTensors).toBe(tensors);
    expect(values.own.behaviour.map(({ length }) => length)).toEqual([4, 4]);
    expect(values.own.behaviour[1]).not.toEqual(values.own.behaviour[0]);
    expect(values.own.loss[0]).toBe(values.random.loss[0]);
  });
});

describe("the claims on vectors as dials", () => {
  const DIALS = { style: [-0.1, 0, 0.05, 0.1], labelling: [0, 0.5, 1, 2] };
  const flat = { behaviour: [[0.5], [0.5], [0.5], [0.5]], loss: [3, 3, 3, 3] };
  const style: SteeringValues = {
    own: { behaviour: [[0.2, 0.3], [0.5, 0.5], [0.7, 0.6], [0.9, 0.8]], loss: [3.1, 3, 3.05, 3.4] },
    random: flat,
    demonstrations: [0.8, 0.8],
  }; // biome-ignore format: a line a part
  const labelling: SteeringValues = {
    own: { behaviour: [[0], [0.15], [0.3], [0.4]], loss: [3, 3.02, 3.2, 4] },
    random: { ...flat, behaviour: [[0], [0], [0], [0]] },
    demonstrations: [0.9],
  };
  const verdicts = (change: Partial<SteeringValues> = {}, other: Partial<SteeringValues> = {}) => {
    const four = <T>(seed: T): T[] => [seed, seed, seed, seed];
    const styles = four({ ...style, ...change });
    const results = [...judgeDial("style", styles, DIALS.style), judgeDemonstrations(styles), ...judgeDial("labelling", four({ ...labelling, ...other }), DIALS.labelling)]; // biome-ignore format: one line
    return Object.fromEntries(results.map(({ id, verdict }) => [id, verdict]));
  };

  it("are borne out by vectors that turn it step by step, each judged once", () => {
    expect(Object.keys(verdicts())).toEqual(
      [inContextVectorsExperiment, functionVectorsExperiment].flatMap(({ claims }) => claims.map(({ id }) => id)),
    );
    expect(new Set(Object.values(verdicts()))).toEqual(new Set(["reproduced"]));
  });

  it("on the dial are not where a step goes back, or it hardly turns", () => {
    const back = { ...style.own, behaviour: [[0.2], [0.7], [0.6], [0.9]] };
    expect(verdicts({ own: back })["style-dial"]).toBe("not reproduced");
    const weak = { ...labelling.own, behaviour: [[0], [0.01], [0.02], [0.09]] };
    expect(verdicts({}, { own: weak })).toMatchObject({ "labelling-dial": "not reproduced", "labelling-direction": "inconclusive at this scale", "labelling-cost": "inconclusive at this scale" }); // biome-ignore format: one line
  });

  it("on the direction are not where a random one does half as much, either way", () => {
    const random = { ...flat, behaviour: [[0.9], [0.5], [0.5], [0.4]] };
    expect(verdicts({ random })["style-direction"]).toBe("not reproduced");
  });

  it("on the price go by the first place that is worth it", () => {
    const dear = { ...style.own, loss: [3, 3, 3.11, 3.11] };
    expect(verdicts({ own: dear })["style-cost"]).toBe("not reproduced");
  });

  it("on demonstrations are not where these do more", () => {
    expect(verdicts({ demonstrations: [0.9] })["style-demonstrations"]).toBe("not reproduced");
  });
});
