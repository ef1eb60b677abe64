import { describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { copy as task } from "../../../synthetic-tasks/copy.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { unevenness } from "../../helpers/statistics.ts";

type Params = Parameters<typeof task.sample>[1];
const make = (raw: Record<string, unknown> = {}): Params => tasks.parse(task.name, raw) as Params;

function drawn(params: Params, count: number, split?: "longest") {
  const random = new Random(2, 3);
  const batch = split
    ? task.evaluations[split]!.sample(null, params, random, count)
    : task.sample(null, params, random, count);
  const { context: T } = params;
  return Array.from({ length: count }, (_, r) => {
    const row = [...batch.tokens!.subarray(r * T, (r + 1) * T)];
    const length = batch.layout![r]!;
    return {
      row,
      length,
      string: row.slice(1, 1 + length),
      asked: [...batch.weights.subarray(r * T, (r + 1) * T)].flatMap((w, t) => (w === 1 ? [t] : [])),
      targets: [...batch.classes!.subarray(r * T, (r + 1) * T)],
    };
  });
}

describe("a row of copy", () => {
  it("is a separator, a string, a separator and the string but its last letter, then filler", () => {
    for (const { row, length, string } of drawn(make(), 300)) {
      const rest = new Array(33 - 2 * length - 1).fill(1);
      expect(row).toEqual([0, ...string, 0, ...string.slice(0, -1), ...rest]);
      expect(string.every((id) => id >= 2 && id < 64)).toBe(true);
      expect(new Set(string).size).toBe(length);
    }
  });

  it("asks for every letter of the string, from the second separator on", () => {
    for (const { length, string, asked, targets } of drawn(make(), 300)) {
      expect(asked).toEqual(string.map((_, i) => length + 1 + i));
      expect(asked.map((t) => targets[t])).toEqual(string);
    }
  });

  it("has lengths and letters that are equally frequent, at the first place and the last", () => {
    const rows = drawn(make(), 20_000);
    const uneven = (values: number[], choices: number) => expect(unevenness(values, choices)).toBeLessThan(1);
    uneven(rows.map(({ length }) => length - 2), 15); // biome-ignore format: one line
    uneven(rows.map(({ string }) => string[0]! - 2), 62); // biome-ignore format: one line
    uneven(rows.map(({ string }) => string.at(-1)! - 2), 62); // biome-ignore format: one line
  });

  it("may have a letter twice where that is asked for", () => {
    const rows = drawn(make({ distinct: false, vocabulary: 6, length_min: 16 }), 50);
    expect(rows.every(({ string }) => new Set(string).size <= 4)).toBe(true);
  });

  it("has the longest string that fits in the split longest, whatever training has", () => {
    const rows = drawn(make({ context: 41 }), 20, "longest");
    expect(new Set(rows.map(({ length }) => length))).toEqual(new Set([20]));
  });

  it("is guessed right as often as chance says", () => {
    const params = make();
    const [guess, right] = [2 + 17, drawn(params, 5000)];
    const all = right.flatMap(({ string }) => string);
    const share = all.filter((letter) => letter === guess).length / all.length;
    const { accuracy } = task.evaluations["copy"]!.chance!(params);
    expect(Math.abs(share - accuracy!)).toBeLessThan(4 * Math.sqrt((accuracy! * (1 - accuracy!)) / all.length));
  });
});
