import { z } from "zod";
import { Random } from "../../backend/common/random.ts";
import type { Model } from "../../backend/models/model.ts";
import { drawPrompts, type FamilyPrompts } from "../../synthetic-tasks/families/family.ts";
import { MixturePosterior } from "../../synthetic-tasks/families/posterior.ts";
import { promptOutputs } from "../predictions.ts";
import type { RunWorld } from "./compare.ts";

/** Stream of a seed that no batch of the training is drawn from. */
const STREAM = 0xe5000000;
/** Points of a period at which a predicted function is read, for each frequency. */
const POINTS = 6;

/** Schema of the share of each frequency that is learned, [frequencies][pairs]: 1 has the right amplitude and phase, 0 none of it. */
export const spectrumValues = z.object({
  pairs: z.array(z.int()),
  model: z.array(z.array(z.number())),
  bayes: z.array(z.array(z.number())),
});
/** Shares of frequencies by pairs seen. */
export type Spectrum = z.output<typeof spectrumValues>;

/** Cosine and sine parts of a function at each frequency from 1 on. @param values at even steps of a period that begins at -half */
export function frequencies(values: ArrayLike<number>, degree: number): [number, number][] {
  const n = values.length;
  return Array.from({ length: degree }, (_, f): [number, number] => {
    let [cos, sin] = [0, 0];
    for (let i = 0; i < n; i++) {
      const angle = (f + 1) * Math.PI * ((2 * i) / n - 1);
      cos += (2 / n) * values[i]! * Math.cos(angle);
      sin += (2 / n) * values[i]! * Math.sin(angle);
    }
    return [cos, sin];
  });
}

/**
 * Reads the frequencies that a model of fourier-series has learned from contexts of series of the highest degree, by their length. The share is
 * the projection of the predicted parts on the true ones, over the true ones' square, each summed over contexts.
 */
export async function learnedSpectrum(model: Model, world: RunWorld, contexts: number): Promise<Spectrum> {
  const { params, seed, mixtures } = world;
  const [degree, half, examples] = ["degree", "half", "examples"].map((name) => params[name] as number) as [number, number, number];
  const points = POINTS * degree;
  const grid = Float32Array.from({ length: points }, (_, i) => half * ((2 * i) / points - 1));
  const inputs = (random: Random, x: Float32Array) => {
    random.fillUniform(x);
    x.forEach((u, i) => {
      x[i] = half * (2 * u - 1);
    });
  };
  const size = { rows: contexts, examples, dimension: 1 };
  const drawn = drawPrompts(mixtures["highest"]!, inputs, size, new Random(seed, STREAM));
  const pairs = Array.from({ length: examples - 1 }, (_, i) => i + 1);
  const read: number[][] = [];
  const bayes: number[][] = [];
  for (const count of pairs) {
    read.push(shares(drawn, await readModel(model, drawn, count, grid), degree));
    bayes.push(shares(drawn, readBayes(world, drawn, count, grid), degree));
  }
  const turned = (rows: number[][]) => Array.from({ length: degree }, (_, f) => rows.map((row) => row[f]!));
  return { pairs, model: turned(read), bayes: turned(bayes) };
} // biome-ignore format: a line a step

/** Share of each frequency that predicted functions have of the true ones. @param predicted [contexts, points] */
function shares({ rows, weights }: FamilyPrompts, predicted: ArrayLike<number>, degree: number): number[] {
  const points = predicted.length / rows;
  const parts = Array.from({ length: rows }, (_, row) =>
    frequencies(Array.from({ length: points }, (__, i) => predicted[row * points + i]!), degree),
  );
  return Array.from({ length: degree }, (_, f) => {
    let [product, square] = [0, 0];
    weights.forEach((w, row) => {
      const [cos, sin] = [w[2 * f + 1]!, w[2 * f + 2]!];
      product += parts[row]![f]![0] * cos + parts[row]![f]![1] * sin;
      square += cos ** 2 + sin ** 2;
    });
    return product / square;
  });
} // biome-ignore format: a line a step

/** Predictions of a model behind the first pairs of contexts [contexts, points]. */
async function readModel(
  model: Model,
  { rows, examples, x, y }: FamilyPrompts,
  count: number,
  grid: Float32Array,
): Promise<number[]> {
  const points = grid.length;
  const length = count + 1;
  const prompts = { rows: rows * points, examples: length, x: new Float32Array(rows * points * length), y: new Float32Array(rows * points * length) };
  for (let row = 0; row < rows * points; row++) {
    const context = Math.floor(row / points) * examples;
    prompts.x.set(x.subarray(context, context + count), row * length);
    prompts.y.set(y.subarray(context, context + count), row * length);
    prompts.x[row * length + count] = grid[row % points]!;
  }
  const outputs = await promptOutputs(model, prompts);
  return Array.from({ length: rows * points }, (_, row) => outputs[row * length + count]!);
} // biome-ignore format: a line a step

/** The same of Bayes' predictor for the mixture of training. */
function readBayes({ mixtures }: RunWorld, { rows, examples, x, y }: FamilyPrompts, count: number, grid: Float32Array): number[] {
  return Array.from({ length: rows }, (_, row) => {
    const posterior = new MixturePosterior(mixtures.training);
    for (let at = row * examples; at < row * examples + count; at++) posterior.observe([x[at]!], y[at]!);
    return Array.from(grid, (at) => posterior.predict([at]));
  }).flat();
} // biome-ignore format: a line a step
