import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { eigen } from "../../../../../backend/common/numerics/symmetric-eigen.ts";
import { Random } from "../../../../../backend/common/random.ts";
import { principalDirections } from "../../../../../backend/inference/policies/forms/low-rank.ts";
import { chunksOf, fetchedBy } from "../../../../../backend/inference/policies/forms/shadowkv.ts";
import { initBackend } from "../../../../../backend/runtime/backend.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { smallConfig } from "../../../../helpers/models.ts";
import { drawnInput, type PolicyDefinition, policyDefinitions } from "../../../../helpers/oracles/policies.ts";

beforeAll(async () => void (await initBackend()));
const { seed, sections } = policyDefinitions();

function drawn({ inputs }: PolicyDefinition, name: string): Tensor {
  return tf.tensor([...drawnInput(inputs[name]!, seed)], inputs[name]!.shape);
}

describe("condensed forms hold what a NumPy program of their definition holds", () => {
  it("xkv", () => {
    const section = sections["xkv"]!;
    const { layers, rank } = section.parameters as { layers: number; rank: number };
    const k = drawn(section, "k"); // [layers, KV heads, tokens, d]
    const [, heads, tokens, width] = k.shape as [number, number, number, number];
    const flat = tf.reshape(tf.transpose(k, [2, 0, 1, 3]), [tokens, layers * heads * width]);
    const directions = principalDirections(flat, rank);
    const back = tf.matMul(tf.matMul(flat, directions), directions, false, true);
    const restored = tf.transpose(tf.reshape(back, [tokens, layers, heads, width]), [1, 2, 0, 3]);
    const last = tf.squeeze(tf.slice(restored, [0, 0, tokens - 1, 0], [layers, heads, 1, width]), [2]).arraySync();
    (section["restored"] as number[][][]).forEach((layer, l) => {
      layer.flat().forEach((x, i) => void expect((last as number[][][])[l]!.flat()[i]!).toBeCloseTo(x, 5));
    });
    const error = tf.sqrt(tf.mean(tf.square(tf.sub(restored, k)), [1, 2, 3])).arraySync() as number[];
    (section["error"] as number[]).forEach((x, l) => void expect(error[l]!).toBeCloseTo(x, 5));
    const norms = tf.norm(tf.matMul(flat, directions), 2, 0).arraySync() as number[];
    norms.forEach((norm, i) => void expect(norm).toBeCloseTo((section["singular"] as number[])[i]!, 4));
  });

  it("shadowkv", () => {
    const section = sections["shadowkv"]!;
    const { tokens, steps, chunk, outliers, budget } = section.parameters as Record<string, number>;
    const [q, k] = [drawn(section, "q"), drawn(section, "k")];
    const [heads, , width] = q.shape as [number, number, number];
    const [kvHeads] = k.shape as [number];
    const prompt = tf.slice(k, [0, 0, 0], [kvHeads, tokens!, width]);
    const { landmarks, competing, odd, similar } = chunksOf(prompt, { chunk: chunk!, outliers: outliers! });
    expect(odd).toEqual(section["outliers"]);
    (similar.arraySync() as number[][]).flat().forEach((x, i) => {
      expect(x).toBeCloseTo((section["similar"] as number[][]).flat()[i]!, 5);
    });
    const config = smallConfig({
      n_heads: heads,
      n_key_value_heads: kvHeads,
      d_head: width,
      attn_scale: width ** -0.5,
    });
    const fetched = Array.from({ length: steps! }, (_, step) => {
      const queries = tf.slice(q, [0, tokens! + step, 0], [heads, 1, width]);
      const places = fetchedBy({ config, kvHeads }, queries, landmarks, Math.floor(budget! / chunk!));
      return places.map((list, g) => list.map((place) => competing[g]![place]!));
    });
    expect(fetched).toEqual(section["fetched"]);
  });
});

describe("directions in which rows are largest", () => {
  it("are all there are where as many are wanted, so that nothing is lost", () => {
    tf.tidy(() => {
      const rows = tf.randomNormal([5, 12], 0, 1, "float32", 3);
      const directions = principalDirections(rows, 12);
      const back = tf.matMul(tf.matMul(rows, directions), directions, false, true);
      expect(back.dataSync()).toEqual(rows.dataSync());
    });
  });

  it("hold nearly as much as the best of their number, where they are searched for among many", () => {
    const [rows, channels, rank] = [400, 120, 20];
    const random = new Random(3);
    const numbers = Float32Array.from({ length: rows * channels }, (_, i) => random.normal() * 0.93 ** (i % channels));
    const x = tf.tensor2d(numbers, [rows, channels]);
    const held = (directions: Tensor): number => tf.sum(tf.square(tf.matMul(x, directions))).dataSync()[0]!;
    const { values } = eigen(Float64Array.from(tf.matMul(x, x, true, false).dataSync()), channels);
    const best = [...values].sort((a, b) => b - a).slice(0, rank);
    const directions = principalDirections(x, rank);
    const ones = tf.matMul(directions, directions, true, false);
    expect(tf.max(tf.abs(tf.sub(ones, tf.eye(rank)))).dataSync()[0]!).toBeLessThan(1e-5);
    expect(held(directions) / best.reduce((a, b) => a + b)).toBeGreaterThan(0.999);
  });
});
