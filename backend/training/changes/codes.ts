import { Random } from "../../common/random.ts";
import type { CodedBatch } from "../step.ts";
import type { ChangedModel } from "./changes.ts";

/** Streams of a run's seed from which restarts of codes are drawn, one each; see `initialParameters` for the others. */
const RESTART_STREAM = 0xc0000000;

/** Tells whether unused codes restart before a step, from 1 on: before the first, then each `code_restart` steps. */
export function restartsBefore({ training }: ChangedModel, step: number): boolean {
  const { code_restart: every, code_restart_until: until = Math.floor(training.steps / 2) } = training;
  const done = step - 1;
  return every !== undefined && done % every === 0 && done <= until;
}

/**
 * A seed's state with the codes that no prediction of a batch takes put onto streams of that batch. Streams are drawn without repetition,
 * each with a chance that grows with its squared distance from its code; the optimiser's vectors are 0 at codes that moved.
 * @param state parameters, then the optimiser's vectors
 * @param batch coded by these parameters, with the weights of its predictions [rows * scored]; those of weight 0 do not count
 * @see Arthur and Vassilvitskii 2007, k-means++, for the draw
 */
export function restartCodes(
  state: readonly Float32Array[],
  { config, places }: Pick<ChangedModel, "config" | "places">,
  { z, chosen, weights }: CodedBatch & { readonly weights: Float32Array },
  { seed, step }: { seed: number; step: number },
): Float32Array[] {
  const { offset, shape } = places.find(({ name }) => name === "codes")!;
  const { heads, codes } = config.bottleneck!;
  const width = shape[1]!;
  const random = new Random(seed, RESTART_STREAM + step);
  const [parameters, ...vectors] = state.map((values) => values.slice()) as [Float32Array, ...Float32Array[]];
  const tokens = [...weights.keys()].filter((token) => weights[token]! > 0);
  for (let head = 0; head < heads; head++) {
    const of = (token: number) => chosen[token * heads + head]!;
    const stream = (token: number) => z.subarray((token * heads + head) * width, (token * heads + head + 1) * width);
    const vector = (code: number) => parameters.subarray(offset + code * width, offset + (code + 1) * width);
    const taken = new Set(tokens.map(of));
    const distances = Float64Array.from(tokens, (token) => squaredDistance(stream(token), vector(of(token))));
    for (let code = head * codes; code < (head + 1) * codes; code++) {
      if (taken.has(code)) continue;
      const drawn = drawByWeight(distances, random);
      if (drawn === undefined) break; // fewer streams than codes
      distances[drawn] = 0;
      vector(code).set(stream(tokens[drawn]!));
      for (const own of vectors) own.fill(0, offset + code * width, offset + (code + 1) * width);
    }
  }
  return [parameters, ...vectors];
}

function squaredDistance(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0);
}

/** A place drawn in proportion to its weight; undefined where all are 0. */
function drawByWeight(weights: Float64Array, random: Random): number | undefined {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (!(total > 0)) return undefined;
  let left = random.uniform() * total;
  let last: number | undefined;
  for (const [place, weight] of weights.entries()) {
    if (weight === 0) continue;
    last = place;
    left -= weight;
    if (left < 0) break;
  }
  return last;
}
