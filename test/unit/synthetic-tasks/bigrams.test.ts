import { describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { BigramChain } from "../../../synthetic-tasks/bigrams/chain.ts";
import { zipfBigram as task } from "../../../synthetic-tasks/bigrams/zipf-bigram.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { refused } from "../../helpers/errors.ts";

type Params = Parameters<typeof task.sample>[1];
const make = (raw: Record<string, unknown> = {}): Params => tasks.parse(task.name, raw) as Params;
const SHAPE = { words: 12, triggers: 2, zipf: 1, contrast: 1 };

/** Words of one long chain. */
function walk(chain: BigramChain, steps: number): number[] {
  const random = new Random(4, 1);
  const words: number[] = [];
  for (let place = chain.start(random); words.length < steps; place = chain.next(place, random)) words.push(place.word);
  return words;
}

describe("a chain of word pairs", () => {
  const chain = new BigramChain(SHAPE, 1);
  const words = walk(chain, 200_000);

  it("copies behind triggers the word before them", () => {
    for (let t = 1; t + 1 < 2000; t++) if (words[t]! < 2) expect(words[t + 1]).toBe(words[t - 1]);
  });

  it("follows its table behind ordinary words", () => {
    const counts = new Float64Array(12);
    words.forEach((word, t) => {
      if (t > 0 && words[t - 1] === 5) counts[word]!++;
    });
    const total = counts.reduce((a, b) => a + b);
    const row = chain.rows[5]!;
    counts.forEach((count, b) => {
      expect(Math.abs(count / total - row[b]!)).toBeLessThan(5 * Math.sqrt(row[b]! / total) + 1e-4);
    });
  });

  it("starts as a long walk goes on, and the entropy rate is the walk's mean surprise", () => {
    const random = new Random(9, 2);
    const starts = new Float64Array(12);
    for (let i = 0; i < 40_000; i++) starts[chain.start(random).word]!++;
    const shares = new Float64Array(12);
    for (const word of words) shares[word]! += 1 / words.length;
    starts.forEach((count, word) => {
      expect(Math.abs(count / 40_000 - shares[word]!)).toBeLessThan(0.012);
    });
    let surprise = 0;
    for (let t = 1; t < words.length; t++) {
      const row = chain.rows[words[t - 1]!]!;
      if (words[t - 1]! >= 2) surprise -= Math.log(row[words[t]!]!);
    }
    expect(Math.abs(surprise / (words.length - 1) - chain.entropyRate)).toBeLessThan(0.015);
  });

  it("has frequent words by Zipf's law where pairs are left to chance", () => {
    const even = new BigramChain({ ...SHAPE, triggers: 0, contrast: 0 }, 1);
    const row = even.rows[3]!;
    expect(row[0]! / row[3]!).toBeCloseTo(4, 10);
    const entropy = -row.reduce((sum, p) => sum + p * Math.log(p), 0);
    expect(even.entropyRate).toBeCloseTo(entropy, 10);
  });
});

describe("sequences of zipf-bigram", () => {
  it("have a least loss that the exact predictor reaches", () => {
    const params = make({ context: 8 });
    const world = task.world(params, 3);
    const batch = task.evaluations.fresh!.sample(world, params, new Random(3, 5), 6000);
    const logs = task.reference!.predict(world, params, batch);
    let loss = 0;
    batch.classes!.forEach((target, i) => {
      loss -= logs[i * params.vocabulary + target]!;
    });
    expect(Math.abs(loss / batch.classes!.length - world.chain.entropyWithin(8))).toBeLessThan(0.02);
    expect(world.chain.entropyWithin(8)).toBeGreaterThan(world.chain.entropyRate);
    const sums = Float64Array.from({ length: 48_000 }, (_, i) =>
      logs.subarray(i * params.vocabulary, (i + 1) * params.vocabulary).reduce((sum, log) => sum + Math.exp(log), 0),
    );
    expect(Math.max(...sums.map((sum) => Math.abs(sum - 1)))).toBeLessThan(1e-9);
  });

  it("have the marker at its place alone, and no prediction of it or from it counts", () => {
    const params = make({ marker: 3 });
    const { tokens, weights, classes } = task.sample(task.world(params, 1), params, new Random(1, 1), 50);
    tokens!.forEach((id, i) => {
      const t = i % params.context;
      expect(id === 0).toBe(t === 3);
      expect(weights[i]).toBe(t === 2 || t === 3 ? 0 : 1);
      if (t + 1 < params.context) expect(classes![i]).toBe(tokens![i + 1]);
    });
  });

  it("are drawn from a pool where their number is limited", () => {
    const params = make({ sequences: 5 });
    const world = task.world(params, 1);
    const rows = (stream: number) => {
      const { tokens } = task.sample(world, params, new Random(1, stream), 40);
      return Array.from({ length: 40 }, (_, r) =>
        tokens!.slice(r * params.context, (r + 1) * params.context).join(" "),
      );
    };
    expect(new Set([...rows(1), ...rows(2)]).size).toBe(5);
    const fresh = task.evaluations.fresh!.sample(world, params, new Random(1, 7), 40);
    expect(fresh.tokens).not.toEqual(task.sample(world, params, new Random(1, 7), 40).tokens);
  });

  it("are those of the pool that were chosen, where some were", () => {
    const params = make({ sequences: 5, chosen: [1, 4] });
    const { context } = params;
    const world = task.world(params, 1);
    const row = (tokens: Int32Array, r: number) => tokens.slice(r * context, (r + 1) * context).join(" ");
    const { tokens } = task.sample(world, params, new Random(1, 1), 40);
    const drawn = new Set(Array.from({ length: 40 }, (_, r) => row(tokens!, r)));
    expect(drawn).toEqual(new Set([1, 4].map((number) => row(world.pool!.tokens!, number))));
    expect(() => task.check(make({ sequences: 5, chosen: [5] }))).toThrow(
      refused("usage", { field: ["chosen", "sequences"] }),
    );
    expect(() => task.check(make({ chosen: [0] }))).toThrow(refused("usage", { field: ["chosen", "sequences"] }));
  });

  it("refuses a marker outside of the sequence, and triggers that leave no words", () => {
    expect(() => task.check(make({ marker: 32 }))).toThrow(refused("usage", { field: ["marker", "context"] }));
    expect(() => task.check(make({ vocabulary: 8, triggers: 6 }))).toThrow(
      refused("usage", { field: ["triggers", "vocabulary"] }),
    );
  });
});
