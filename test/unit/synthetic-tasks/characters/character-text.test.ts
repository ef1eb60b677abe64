import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { predictorLevel } from "../../../../backend/training/evaluations.ts";
import { sequencesOf } from "../../../../backend/training/task.ts";
import { leastTextLoss, characterText as task } from "../../../../synthetic-tasks/characters/character-text.ts";
import { ALPHABET } from "../../../../synthetic-tasks/characters/sentences.ts";
import { tasks } from "../../../../synthetic-tasks/index.ts";
import { refused } from "../../../helpers/errors.ts";

type Params = Parameters<typeof task.sample>[1];
const make = (raw: Record<string, unknown> = {}): Params => tasks.parse(task.name, raw) as Params;

describe("sequences of character-text", () => {
  const params = make();
  const world = task.world(params, 3);

  it("are stretches of the text, with the next characters as targets", () => {
    const { tokens, classes, weights } = task.sample(world, params, new Random(3, 5), 30);
    tokens!.forEach((id, i) => {
      expect(id).toBeGreaterThan(0);
      expect(weights[i]).toBe(1);
      if (i % params.context !== params.context - 1) expect(classes![i]).toBe(tokens![i + 1]);
    });
    const texts = Array.from({ length: 30 }, (_, row) =>
      task.describe(world, params, task.sample(world, params, new Random(3, 5), 30), row),
    );
    expect(texts.join("\n")).toMatch(/ the /);
  });

  it("follow from the seed", () => {
    const drawn = (seed: number) => task.sample(task.world(params, seed), params, new Random(3, 5), 8).tokens;
    expect(drawn(3)).toEqual(drawn(3));
    expect(drawn(4)).not.toEqual(drawn(3));
  });

  it("have the marker at its place alone, and no prediction of it or from it counts", () => {
    const marked = make({ marker: 3 });
    const { tokens, weights, classes } = task.sample(task.world(marked, 1), marked, new Random(1, 1), 50);
    tokens!.forEach((id, i) => {
      const t = i % marked.context;
      expect(id === 0).toBe(t === 3);
      expect(weights[i]).toBe(t === 2 || t === 3 ? 0 : 1);
      if (t + 1 < marked.context) expect(classes![i]).toBe(tokens![i + 1]);
    });
    const batch = task.sample(task.world(marked, 1), marked, new Random(1, 1), 1);
    expect(task.document!(task.world(marked, 1), marked, batch, 0)["text"]).toMatch(/^[a-z .,]{3}\|[a-z .,]{28}$/);
  });

  it("are drawn from a pool of different ones where their number is limited", () => {
    const few = make({ sequences: 5, context: 4, words: 1, plain: 1 });
    const pool = task.world(few, 1);
    const rows = (stream: number) =>
      sequencesOf(task.sample(pool, few, new Random(1, stream), 60)).map((row) => row.join(" "));
    expect(new Set([...rows(1), ...rows(2)]).size).toBe(5);
    const fresh = task.evaluations.fresh!.sample(pool, few, new Random(1, 7), 40);
    expect(new Set(sequencesOf(fresh).map((row) => row.join(" "))).size).toBeGreaterThan(5);
  });

  it("are refused where the marker stands outside, or the text has too few different ones", () => {
    expect(() => task.check(make({ marker: 32 }))).toThrow(refused("usage", { field: ["marker", "context"] }));
    expect(() => task.world(make({ sequences: 500, words: 1, plain: 1 }), 0)).toThrow(
      refused("usage", { field: ["sequences", "context", "words", "plain"] }),
    );
  });

  it("count behind letters alone in the evaluation of spelling", () => {
    const { tokens, weights } = task.evaluations.spelling!.sample(world, params, new Random(3, 5), 30);
    tokens!.forEach((id, i) => {
      expect(weights[i]).toBe(id >= 1 && id <= 26 ? 1 : 0);
    });
  });
});

describe("the exact posterior of character-text", () => {
  it("has chances that sum to 1, none for the marker, and says the same with a marker as without", () => {
    const [plain, marked] = [make({ context: 12 }), make({ context: 13, marker: 4 })];
    const world = task.world(plain, 2);
    const own = task.sample(world, plain, new Random(2, 1), 6);
    const same = task.sample(world, marked, new Random(2, 1), 6);
    const logs = task.reference!.predict(world, plain, own);
    const others = task.reference!.predict(world, marked, same);
    const ids = ALPHABET.length + 1;
    for (let r = 0; r < 6; r++)
      for (let t = 0; t < 12; t++) {
        const at = (r * 12 + t) * ids;
        const row = logs.subarray(at, at + ids).map(Math.exp);
        expect(row.reduce((a, b) => a + b)).toBeCloseTo(1, 9);
        expect(row[0]).toBe(0);
        const there = (r * 13 + t + (t < 4 ? 0 : 1)) * ids;
        expect(others.subarray(there, there + ids)).toEqual(logs.subarray(at, at + ids));
      }
  });

  it("comes to the entropy rate far into a sequence, and its level lies between that and uniform guessing", () => {
    const long = make({ context: 128 });
    const world = task.world(long, 3);
    const drawn = task.evaluations.fresh!.sample(world, long, new Random(3, 5), 500);
    const logs = task.reference!.predict(world, long, drawn);
    const late = drawn.weights.map((_, i) => (i % 128 >= 64 ? 1 : 0));
    const { loss } = predictorLevel(task.shape(long), { ...drawn, weights: late }, logs);
    expect(Math.abs(loss! - world.text.entropyRate)).toBeLessThan(0.015);
    const least = leastTextLoss(make(), 3, { random: new Random(3, 6), rows: 500 });
    expect(least).toBeGreaterThan(world.text.entropyRate);
    expect(least).toBeLessThan(Math.log(ALPHABET.length) / 2);
    expect(task.evaluations.fresh!.chance!(long).loss).toBeCloseTo(Math.log(ALPHABET.length), 12);
  });
});
