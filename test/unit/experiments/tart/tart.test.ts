import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matrixOf, product } from "../../../../backend/common/numerics/matrix.ts";
import { Random } from "../../../../backend/common/random.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { experimentParameters, experiments } from "../../../../experiments/index.ts";
import type { TaskAccuracies, Way } from "../../../../experiments/tart/answers.ts";
import { components } from "../../../../experiments/tart/features.ts";
import { judge, type TartSeed } from "../../../../experiments/tart/judge.ts";
import { measureTask, taskValues } from "../../../../experiments/tart/measure.ts";
import { drawTexts, TEXT_TASKS } from "../../../../experiments/tart/texts.ts";
import { labelTokens, promptTokens } from "../../../../synthetic-tasks/demonstrations/index.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";
import { wordModel } from "../../../helpers/texts/word-model.ts";

/** A seed of two tasks whose accuracies do not depend on the shots, but for the module's. */
function seed(changes: Partial<Record<Way, number>> & { first?: number; synthetic?: number } = {}): TartSeed {
  const { first, synthetic = 0.89, ...ways } = changes;
  const levels = { module: 0.9, plain: 0.8, calibrated: 0.85, own: 0.9, probe: 0.95, ...ways };
  const task = Object.fromEntries(Object.entries(levels).map(([way, value]) => [way, [value, value]]));
  task["module"] = [first ?? levels.module - 0.05, levels.module];
  return { synthetic: { module: synthetic, reference: 0.9 }, tasks: [task, task] as unknown as TaskAccuracies[] };
}
const four = (one: TartSeed) => [one, one, one, one];
const verdicts = (one: TartSeed) =>
  Object.fromEntries(judge(four(one), ["a", "b"]).map(({ id, verdict }) => [id, verdict]));

describe("the claims of tart", () => {
  it("are borne out by a module that beats plain answers in every task", () => {
    expect(new Set(Object.values(verdicts(seed())))).toEqual(new Set(["reproduced"]));
  });

  it.each([
    ["learns", seed({ synthetic: 0.86 })],
    ["beats-plain", seed({ plain: 0.85 })],
    ["every-task", seed({ plain: 0.9 })],
    ["near-own", seed({ own: 0.95 })],
    ["representation", seed({ probe: 0.84 })],
    ["more-shots", seed({ first: 0.89 })],
  ])("%s is refuted where its margin is missed", (id, one) => {
    expect(verdicts(one)[id]).toBe("not reproduced");
  });

  it("cannot say that shots help where few are enough", () => {
    expect(verdicts(seed({ module: 0.99, first: 0.96 }))["more-shots"]).toBe("inconclusive at this scale");
  });
});

describe("principal components of embeddings", () => {
  const random = new Random(4);
  const width = 12;
  const items = matrixOf(
    Array.from({ length: 9 }, () => Array.from({ length: width }, (_, j) => 5 + random.normal() / (1 + j))),
  );
  const row = (i: number) => items.data.subarray(i * width, (i + 1) * width);
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, j) => sum + value * b[j]!, 0);
  const products = Array.from({ length: 9 }, (_, a) => Array.from({ length: 9 }, (_, b) => dot(row(a), row(b))));

  it("keep all distances between the shots where all are kept", () => {
    const { shots } = components(products, 6, { count: 6, white: false });
    expect(shots.columns).toBe(5);
    const coordinates = (i: number) => shots.data.subarray(i * 5, (i + 1) * 5);
    for (let a = 0; a < 6; a++)
      for (let b = 0; b < 6; b++) {
        const wanted = row(a).map((value, j) => value - row(b)[j]!);
        const found = coordinates(a).map((value, j) => value - coordinates(b)[j]!);
        expect(dot(found, found)).toBeCloseTo(dot(wanted, wanted), 8);
      }
  });

  it("are white over the shots, and put a further item where the same map does", () => {
    const { shots, others } = components(products, 6, { count: 3, white: true });
    const turned = { rows: 3, columns: 6, data: new Float64Array(18) };
    shots.data.forEach((value, i) => {
      turned.data[(i % 3) * 6 + Math.floor(i / 3)] = value;
    });
    product(turned, shots).data.forEach((value, i) => {
      expect(value / 5).toBeCloseTo(i % 4 === 0 ? 1 : 0, 8);
    });
    // A shot that comes again among the others has the shot's coordinates.
    const again = [0, 1, 2, 3, 4, 5, 2];
    const twice = components(
      again.map((a) => again.map((b) => products[a]![b]!)),
      6,
      { count: 3, white: true },
    );
    [...twice.others.data].forEach((value, c) => {
      expect(value).toBeCloseTo(twice.shots.data[2 * 3 + c]!, 8);
    });
    expect(others.rows).toBe(3);
  });
});

it("texts are all different, and every even number of shots has both labels equally often", () => {
  for (const texts of TEXT_TASKS) {
    const { shots, queries } = drawTexts(texts, { shots: 32, queries: 24 }, new Random(1));
    expect(new Set([...shots, ...queries].map(({ text }) => text)).size).toBe(56);
    for (const count of [8, 16, 32])
      expect(shots.slice(0, count).filter(({ label }) => label === 1)).toHaveLength(count / 2);
    expect(queries.filter(({ label }) => label === 1)).toHaveLength(12);
  }
});

describe("a measurement on a small random model", () => {
  const [texts] = TEXT_TASKS;
  const means = { progress: () => {}, signal: new AbortController().signal };
  const settings = { seed: 3, shots: [4, 6], prompts: 4, embedding: "leave-one-out" as const };
  let model: Model;
  beforeAll(async () => {
    await initBackend();
    const { ref, family, digest, config, weights } = randomModel(smallConfig({ d_vocab: 400 }));
    model = new Model({ ref, family, digest, config, weights, tokenizer: wordModel().tokenizer });
  });
  afterAll(() => model.dispose());

  it("gives the plain model's answers, though shots are read once, and leaves no tensor", async () => {
    const values = await measureTask(model, texts!, settings, means);
    const tensors = tf.memory().numTensors;
    expect(await measureTask(model, texts!, settings, means)).toEqual(values);
    expect(tf.memory().numTensors).toBe(tensors);
    expect(taskValues.parse(values)).toEqual(values);

    const { shots, queries } = drawTexts(texts!, { shots: 6, queries: 4 }, new Random(3));
    const labels = labelTokens(model, texts!);
    queries.forEach((query, q) => {
      const { tokens } = promptTokens(model, texts!, { demonstrations: shots.slice(0, 4), query });
      const run = forward(model, { tokens: [tokens], logitsAt: "last" });
      const logits = run.logits!.dataSync();
      run.dispose();
      expect(values.byShots[0]!.margins[q]).toBeCloseTo(logits[labels[1]!]! - logits[labels[0]!]!, 3);
    });
  });

  it("embeds a text alone whatever stands beside it", async () => {
    const alone = await measureTask(model, texts!, { ...settings, embedding: "alone" }, means);
    const corner = (products: readonly number[][]) => products.slice(0, 4).map((row) => row.slice(0, 4));
    expect(corner(alone.byShots[1]!.products)).toEqual(corner(alone.byShots[0]!.products));
    const behind = await measureTask(model, texts!, settings, means);
    expect(corner(behind.byShots[1]!.products)).not.toEqual(corner(behind.byShots[0]!.products));
  });
});

it.each([
  [{ shots: [16, 8] }, ["shots"]],
  [{ dimension: 8 }, ["shots", "dimension"]],
])("%o is refused before anything is trained", async (changes, field) => {
  const params = experimentParameters(experiments, "tart", "quick", changes);
  const refuse = () => Promise.reject(new Error("trained"));
  const context = { check: () => {}, train: refuse, measure: refuse } as never;
  await expect(experiments.get("tart").run(params, context)).rejects.toMatchObject({ kind: "usage", field });
}); // biome-ignore format: long lines of one call
