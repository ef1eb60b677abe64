import { describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import type { Batch } from "../../../backend/training/task.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { wordRoles as task } from "../../../synthetic-tasks/roles/word-roles.ts";

type Params = Parameters<typeof task.sample>[1];
const make = (raw: Record<string, unknown> = {}): Params => tasks.parse(task.name, raw) as Params;
const [COPULA, OPEN, WORD] = [0, 1, 2];

/** Words of a batch with the role of their slot: of the phrases, read by their form alone. */
function slots({ tokens, rows }: Batch, phrases: number): { word: number; slot: number }[] {
  const length = 3 * phrases + 1;
  return Array.from({ length: rows * phrases }, (_, i) => {
    const at = Math.floor(i / phrases) * length + 3 * (i % phrases);
    const [a, b, c] = tokens!.subarray(at, at + 3) as unknown as [number, number, number];
    if (b === COPULA)
      return [
        { word: a - WORD, slot: 0 },
        { word: c - WORD, slot: 1 },
      ];
    expect(a).toBe(OPEN);
    return [
      { word: b - WORD, slot: 1 },
      { word: c - WORD, slot: 0 },
    ];
  }).flat();
}

describe("roles of words", () => {
  const params = make({ words: 40, unseen: 10, phrases: 2, ambiguous: 0.2 });
  const world = task.world(params, 5);
  const rows = 20_000;
  const batch = task.sample(world, params, new Random(5, 1), rows);
  const all = slots(batch, 2);

  it("are half nouns and half adjectives but for the share of ambiguous words, spread over the ranks", () => {
    const count = (role: number) => world.roles.filter((each) => each === role).length;
    expect([count(0), count(1), count(2)]).toEqual([16, 16, 8]);
    expect(world.roles.flatMap((role, rank) => (role === 2 ? [rank] : []))).toEqual([8, 9, 18, 19, 28, 29, 38, 39]);
    expect(task.world(params, 6).roles).not.toEqual(world.roles);
  });

  it("are what the phrases say: no word in another role, ambiguous ones in either", () => {
    for (const { word, slot } of all) expect([slot, 2]).toContain(world.roles[word]);
    const [nouns, adjectives] = [0, 1].map((s) => all.filter(({ word, slot }) => word === 8 && slot === s).length);
    expect(nouns! / (nouns! + adjectives!)).toBeCloseTo(0.5, 1);
  });

  it("occur in proportion to one over their rank, where a sequence has one phrase", () => {
    const one = { ...params, phrases: 1 };
    const drawn = slots(task.sample(world, one, new Random(5, 1), rows), 1);
    const nouns = drawn.filter(({ slot }) => slot === 0).map(({ word }) => word);
    const possible = world.roles.flatMap((role, rank) => (role === 1 ? [] : [rank]));
    const total = possible.reduce((sum, rank) => sum + 1 / (rank + 1), 0);
    for (const rank of possible.slice(0, 6)) {
      const expected = 1 / (rank + 1) / total;
      const share = nouns.filter((word) => word === rank).length / rows;
      expect(Math.abs(share - expected)).toBeLessThan(4 * Math.sqrt((expected * (1 - expected)) / rows));
    }
  });

  it("are asked for evenly: role, phrase, and form; the words of a sequence are different", () => {
    const length = 7;
    let [adjectives, second, copulas] = [0, 0, 0];
    for (let r = 0; r < rows; r++) {
      const row = batch.tokens!.subarray(r * length, (r + 1) * length);
      expect(new Set(row.filter((id) => id >= WORD)).size).toBe(4);
      expect(row.indexOf(row[6]!)).toBeLessThan(6);
      adjectives += batch.classes![r]!;
      second += Number(row.indexOf(row[6]!) >= 3);
      copulas += Number(row[1] === COPULA);
    }
    for (const count of [adjectives, second, copulas]) expect(Math.abs(count / rows - 0.5)).toBeLessThan(0.02);
  });

  it("follow from the structure in every split: the reference is always right", () => {
    const large = make();
    const roles = task.world(large, 1);
    for (const [name, evaluation] of Object.entries(task.evaluations)) {
      const drawn = evaluation.sample(roles, large, new Random(1, 2), 500);
      const predicted = task.reference!.predict(roles, large, drawn);
      const right = Array.from(drawn.classes!, (role, r) => predicted[2 * r + role] === 0);
      expect([name, right.every(Boolean)]).toEqual([name, true]);
    }
  });

  it("are those of the split: frequent, rare and unseen words, and switched ones in the other role", () => {
    const large = make();
    const roles = task.world(large, 3);
    const of = (name: keyof typeof task.evaluations & string) =>
      slots(task.evaluations[name]!.sample(roles, large, new Random(3, 9), 400), 2);
    expect(of("head").every(({ word, slot }) => word < 40 && roles.roles[word] === slot)).toBe(true);
    expect(of("tail").every(({ word, slot }) => word >= 360 && word < 400 && roles.roles[word] === slot)).toBe(true);
    expect(of("unseen").every(({ word }) => word >= 400 && word < 500)).toBe(true);
    expect(of("switched").every(({ word, slot }) => word < 40 && roles.roles[word] === 1 - slot)).toBe(true);
    expect(of("tail-switched").every(({ word, slot }) => word >= 360 && roles.roles[word] === 1 - slot)).toBe(true);
    expect(slots(task.sample(roles, large, new Random(3, 1), 4000), 2).every(({ word }) => word < 400)).toBe(true);
  });

  it.each([
    [{ words: 41 }, "words"],
    [{ unseen: 3 }, "unseen"],
    [{ words: 20 }, "phrases"],
    [{ ambiguous: 1 }, "ambiguous"],
  ])("that can't be are refused: %j", (raw, field) => {
    expect(() => task.check(make(raw))).toThrow(
      expect.objectContaining({ kind: "usage", field: expect.arrayContaining([field]) }),
    );
  });
});
