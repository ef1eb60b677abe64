import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { Random } from "../../../../../backend/common/random.ts";
import { eigen, principalDirections } from "../../../../../backend/inference/policies/forms/low-rank.ts";
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
  it("are eigenvectors, of a matrix with known ones", () => {
    // Reflections of a diagonal matrix: a = Q diag Q, Q = 1 - 2 u uᵀ.
    const n = 12;
    const random = new Random(5);
    const raw = Array.from({ length: n }, () => random.normal());
    const u = raw.map((x) => x / Math.hypot(...raw));
    const q = (i: number, j: number): number => (i === j ? 1 : 0) - 2 * u[i]! * u[j]!;
    const values = Array.from({ length: n }, (_, i) => (i + 1) ** 2);
    const a = Float64Array.from({ length: n * n }, (_, i) =>
      values.reduce((sum, value, k) => sum + q(Math.floor(i / n), k) * value * q(k, i % n), 0),
    );
    const found = eigen(a, n);
    [...found.values]
      .map((value, i) => [value, found.vectors.subarray(i * n, (i + 1) * n)] as const)
      .sort(([x], [y]) => x - y)
      .forEach(([value, vector], k) => {
        expect(value).toBeCloseTo(values[k]!, 9);
        const along = vector.reduce((sum, x, i) => sum + x * q(i, k), 0);
        expect(Math.abs(along)).toBeCloseTo(1, 9);
      });
  });

  it("are all there are where as many are wanted, so that nothing is lost", () => {
    tf.tidy(() => {
      const rows = tf.randomNormal([5, 12], 0, 1, "float32", 3);
      const directions = principalDirections(rows, 12);
      const back = tf.matMul(tf.matMul(rows, directions), directions, false, true);
      expect(back.dataSync()).toEqual(rows.dataSync());
    });
  });

  it("diagonalise matrices of low rank, of equal eigenvalues and of one number", () => {
    const random = tf.tidy(() => tf.randomNormal([40, 7], 0, 1, "float32", 5).dataSync());
    const gram = (i: number, j: number) => {
      let sum = 0;
      for (let k = 0; k < 7; k++) sum += random[i * 7 + k]! * random[j * 7 + k]!;
      return sum;
    };
    const cases: [number, (i: number, j: number) => number][] = [
      [40, gram],
      [6, (i, j) => (i === j ? 3 : 0)],
      [6, (i, j) => (i === j ? 2 : 1)],
      [1, () => 4],
      [5, () => 0],
    ];
    for (const [n, entry] of cases) {
      const matrix = Float64Array.from({ length: n * n }, (_, at) => entry(Math.floor(at / n), at % n));
      const { values, vectors } = eigen(matrix.slice(), n);
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++) {
          let [unit, back] = [0, 0];
          for (let k = 0; k < n; k++) {
            unit += vectors[i * n + k]! * vectors[j * n + k]!;
            back += values[k]! * vectors[k * n + i]! * vectors[k * n + j]!;
          }
          expect(unit).toBeCloseTo(i === j ? 1 : 0, 10);
          expect(back).toBeCloseTo(matrix[i * n + j]!, 9);
        }
    }
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
