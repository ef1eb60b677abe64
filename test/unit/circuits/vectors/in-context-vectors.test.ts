import { beforeAll, describe, expect, it } from "vitest";
import { demonstration } from "../../../../backend/circuits/vectors/cases.ts";
import {
  inContextVectors,
  principal,
  vectorAdditions,
} from "../../../../backend/circuits/vectors/in-context-vectors.ts";
import { Random } from "../../../../backend/common/random.ts";
import { runWithCache, runWithHooks } from "../../../../backend/hooks/run.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
  runWithHooks(model, [[1, 2]])!.dispose(); // makes what every run shares
});

describe("the first principal direction", () => {
  it("of multiples of one vector is that vector, as long as they are on average, towards most of them", () => {
    const { vector, length, share } = principal([[3, 4], [6, 8], [-3, -4]].map((x) => Float64Array.from(x))); // biome-ignore format: one line
    expect(share).toBeCloseTo(1, 12);
    expect(length).toBeCloseTo(Math.sqrt((25 + 100 + 25) / 3), 10);
    expect(vector[0]! / vector[1]!).toBeCloseTo(3 / 4, 10);
    expect(Math.hypot(...vector)).toBeCloseTo(length, 10);
    expect(vector[0]).toBeGreaterThan(0);
  });

  it("of vectors along the axes is the axis with the largest squares, the mean left in", () => {
    const { vector, length, share } = principal([[2, 0, 0], [0, -3, 0], [0, -3, 0]].map((x) => Float64Array.from(x))); // biome-ignore format: one line
    [0, -Math.sqrt(6), 0].forEach((x, d) => {
      expect(vector[d]).toBeCloseTo(x, 8);
    });
    expect(length).toBeCloseTo(Math.sqrt(6), 8);
    expect(share).toBeCloseTo(18 / 22, 10);
  });

  it("is an eigenvector of the second moments with the largest value, also with more vectors than dimensions", () => {
    const random = new Random(4);
    const vectors = Array.from({ length: 9 }, () => Float64Array.from([3 * random.normal(), random.normal(), 1 + random.normal()])); // biome-ignore format: one line
    const { vector, length, share } = principal(vectors);
    const moment = (a: number, b: number): number => vectors.reduce((sum, v) => sum + v[a]! * v[b]!, 0) / 9;
    for (const a of [0, 1, 2])
      expect([0, 1, 2].reduce((sum, b) => sum + moment(a, b) * vector[b]!, 0)).toBeCloseTo(length ** 2 * vector[a]!, 6);
    expect(share).toBeGreaterThan(1 / 3);
    expect(share).toBeCloseTo(length ** 2 / (moment(0, 0) + moment(1, 1) + moment(2, 2)), 10);
  });

  it("of nothing is nothing", () => {
    expect(principal([new Float64Array(2)])).toEqual({ length: 0, share: 0, vector: [0, 0] });
  });
});

describe("in-context vectors", () => {
  const [source, target, prompt] = [randomTokens(1, 7, 96, 1)[0]!, randomTokens(1, 5, 96, 2)[0]!, randomTokens(1, 6, 96, 3)]; // biome-ignore format: one line

  it("of one example are the differences of the last positions' streams", async () => {
    const before = tf.memory().numTensors;
    const vectors = await inContextVectors(model, { examples: [{ source, target }] });
    expect(tf.memory().numTensors).toBe(before);
    expect(vectors.map(({ layer }) => layer)).toEqual([0, 1, 2]);
    const ends = [source, target].map((tokens) => {
      const { cache, logits } = runWithCache(model, tokens, { names: (name) => name.endsWith("hook_resid_post") });
      const streams = [0, 1, 2].map((layer) => [...cache.slice("hook_resid_post", { layer, row: 0, position: -1 }).dataSync()]); // biome-ignore format: one line
      logits!.dispose();
      cache.dispose();
      return streams;
    });
    for (const { layer, vector, length, share, residNorm } of vectors) {
      const difference = ends[1]![layer]!.map((x, d) => x - ends[0]![layer]![d]!);
      vector.forEach((x, d) => {
        expect(x).toBeCloseTo(difference[d]!, 4);
      });
      expect(length).toBeCloseTo(Math.hypot(...difference), 4);
      expect(share).toBeCloseTo(1, 10);
      expect(residNorm).toBeCloseTo(Math.hypot(...ends[1]![layer]!), 3);
    }
  });

  it("are added behind their layers, at all positions, times the strength", async () => {
    const vectors = await inContextVectors(model, { examples: [{ source, target }], layers: [0, 2] });
    const interventions = vectorAdditions(vectors, 0.5);
    const changed = runWithHooks(model, prompt, { interventions })!;
    const expected = runWithHooks(model, prompt, {
      hooks: vectors.map(({ layer, vector }) => [`blocks.${layer}.hook_resid_post`, (x) => tf.add(x, tf.mul(tf.tensor1d([...vector]), 0.5))] as const), // biome-ignore format: one line
    })!;
    expect(maxDifference(changed, expected)).toBeLessThan(1e-4);
    const still = runWithHooks(model, prompt, { interventions: vectorAdditions(vectors, 0) })!;
    const clean = runWithHooks(model, prompt)!;
    expect(maxDifference(still, clean)).toBe(0);
    tf.dispose([changed, expected, still, clean]);
  });

  it.each([
    ["no examples", { examples: [] }, "usage"],
    ["ids that there are not", { examples: [{ source: [1], target: [96] }] }, "input"],
    ["a layer that there is not", { examples: [{ source: [1], target: [2] }], layers: [3] }, "usage"],
    ["an option that there is not", { examples: [{ source: [1], target: [2] }], strength: 1 }, "usage"],
  ])("%s are refused", async (_, options, kind) => {
    await expect(inContextVectors(model, options)).rejects.toMatchObject({ kind });
  });

  it.each([
    ["without a target", { source: [1] }],
    ["of equal texts", { source: [1, 2], target: [1, 2] }],
    ["with a field that there is not", { source: [1], target: [2], label: 1 }],
    ["of a text without a tokenizer", { source: "a", target: [2] }],
  ])("an example %s is refused", (_, example) => {
    expect(() => demonstration(example, "examples.json: case 0", model)).toThrow(/examples\.json: case 0/);
  });
});
