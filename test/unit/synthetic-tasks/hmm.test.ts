import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { averageModels, hmmMixture as task } from "../../../synthetic-tasks/hmm-mixture.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { chiSquare, chiSquareLimit, histogram } from "../../helpers/statistics.ts";

type Params = Parameters<typeof task.sample>[1];
const make = (raw: Record<string, unknown> = {}): Params => tasks.parse(task.name, raw) as Params;

const oracle = JSON.parse(readFileSync(new URL("../../oracles/hmm.json", import.meta.url), "utf8")) as {
  concepts: number;
  states: number;
  vocabulary: number;
  transitions: number[];
  emissions: number[];
  cases: { tokens: number[]; averaged: number[][]; byConcept: number[][]; posterior: number[] }[];
};
const models = {
  ...oracle,
  transitions: Float64Array.from(oracle.transitions),
  emissions: Float64Array.from(oracle.emissions),
};

describe("averaging over hidden Markov models", () => {
  it.each(oracle.cases)("foretells what the sum over all state paths does: $tokens", ({ tokens, ...expected }) => {
    const { averaged, byConcept, posterior } = averageModels(models, tokens);
    const close = (values: Float64Array, others: number[]) =>
      expect(Math.max(...others.map((x, i) => Math.abs(values[i]! - x)))).toBeLessThan(1e-12);
    close(averaged.map(Math.exp), expected.averaged.flat());
    close(byConcept.map(Math.exp), expected.byConcept.flat());
    close(posterior, expected.posterior);
  });

  it("loses at most ln(concepts) against the concept that made a sequence, and less on the mean than any one concept", () => {
    const params = make({ context: 48 });
    const world = task.world(params, 4);
    const { tokens, layout } = task.sample(world, params, new Random(1, 2), 200);
    const sums = { averaged: 0, first: 0 };
    for (let r = 0; r < 200; r++) {
      const ids = tokens!.subarray(48 * r, 48 * (r + 1));
      const { averaged, byConcept } = averageModels(world, ids);
      const own = byConcept.subarray(48 * layout![r]!, 48 * (layout![r]! + 1)).reduce((a, b) => a + b);
      const mixture = Array.from(ids, (id, t) => averaged[16 * t + id]!).reduce((a, b) => a + b);
      expect(own - mixture).toBeLessThanOrEqual(Math.log(8) + 1e-9);
      sums.averaged += mixture;
      sums.first += byConcept.subarray(0, 48).reduce((a, b) => a + b);
    }
    expect(sums.averaged).toBeGreaterThan(sums.first);
  });
});

describe("a mixture of hidden Markov models", () => {
  it("draws tokens as often as the averaged models foretell", () => {
    const params = make({ context: 4, vocabulary: 6, concepts: 2, states: 2 });
    const world = task.world(params, 9);
    const rows = 20_000;
    const { tokens } = task.sample(world, params, new Random(3, 1), rows);
    for (const before of [[], [2]]) {
      const t = before.length;
      const { averaged } = averageModels(world, [...before, 0]);
      const chances = Array.from(averaged.subarray(6 * t, 6 * (t + 1)), Math.exp);
      const next = Array.from({ length: rows }, (_, r) => tokens!.subarray(4 * r, 4 * r + t + 1))
        .filter((ids) => before.every((id, i) => ids[i] === id))
        .map((ids) => ids[t]!);
      const expected = chances.map((p) => p * next.length);
      expect(chiSquare(histogram(next, 6), expected)).toBeLessThan(chiSquareLimit(5));
    }
  });

  it("draws every concept equally often", () => {
    const params = make();
    const { layout } = task.sample(task.world(params, 0), params, new Random(8, 1), 8000);
    expect(chiSquare(histogram(layout!, 8), new Array<number>(8).fill(1000))).toBeLessThan(chiSquareLimit(7));
  });

  it("has a reference whose loss no uniform guess, and not even the known concepts' mean, comes near", () => {
    const params = make({ context: 32 });
    const world = task.world(params, 2);
    const batch = task.evaluations["late"]!.sample(world, params, new Random(5, 5), 100);
    const predictions = task.reference!.predict(world, params, batch);
    let [loss, count] = [0, 0];
    batch.weights.forEach((weight, at) => {
      loss -= weight * predictions[at * 16 + batch.classes![at]!]!;
      count += weight;
    });
    expect(loss / count).toBeLessThan(Math.log(16) - 0.5);
  });

  it("keeps the concepts of a seed, and has others for `fresh`", () => {
    const params = make();
    expect(task.world(params, 3)).toEqual(task.world(params, 3));
    expect(task.world(params, 3).emissions).not.toEqual(task.world(params, 4).emissions);
    const world = task.world(params, 3);
    const score = (batch: ReturnType<typeof task.sample>) => {
      const predictions = task.reference!.predict(world, params, batch);
      const losses = batch.weights.map((w, at) => -w * predictions[at * 16 + batch.classes![at]!]!);
      return losses.reduce((a, b) => a + b) / batch.weights.reduce((a, b) => a + b);
    };
    const learned = score(task.evaluations["in-context"]!.sample(world, params, new Random(0, 7), 64));
    const fresh = score(task.evaluations["fresh"]!.sample(world, params, new Random(0, 7), 64));
    expect(fresh).toBeGreaterThan(learned + 0.2);
  });
});
