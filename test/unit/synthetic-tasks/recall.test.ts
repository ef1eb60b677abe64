import { describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { associativeRecall as task } from "../../../synthetic-tasks/associative-recall.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { chiSquare, chiSquareLimit, histogram, unevenness } from "../../helpers/statistics.ts";

type Params = Parameters<typeof task.sample>[1];
const make = (raw: Record<string, unknown> = {}): Params => tasks.parse(task.name, raw) as Params;

function drawn(params: Params, count: number, split?: "distant") {
  const random = new Random(2, 3);
  const batch = split
    ? task.evaluations[split]!.sample(null, params, random, count)
    : task.sample(null, params, random, count);
  const { context: T, pairs } = params;
  return Array.from({ length: count }, (_, r) => {
    const row = [...batch.tokens!.subarray(r * T, (r + 1) * T)];
    return {
      row,
      keys: row.slice(0, 2 * pairs).filter((_, t) => t % 2 === 0),
      values: row.slice(0, 2 * pairs).filter((_, t) => t % 2 === 1),
      targets: [...batch.classes!.subarray(r * T, (r + 1) * T)],
      asked: [...batch.weights.subarray(r * T, (r + 1) * T)].flatMap((w, t) => (w === 1 ? [t] : [])),
    };
  });
}

describe("a row of associative recall", () => {
  const params = make();

  it("has different keys below half of the vocabulary, different values above", () => {
    for (const { keys, values } of drawn(params, 300)) {
      expect(new Set(keys).size).toBe(8);
      expect(new Set(values).size).toBe(8);
      expect(keys.every((id) => id >= 1 && id < 128)).toBe(true);
      expect(values.every((id) => id >= 128 && id < 256)).toBe(true);
    }
  });

  it("asks for each key once after the pairs, and the target is its value", () => {
    for (const { row, keys, values, targets, asked } of drawn(params, 300)) {
      expect(asked.every((t) => t >= 16 && t % 2 === 0)).toBe(true);
      expect(asked.map((t) => row[t]!).sort()).toEqual([...keys].sort());
      for (const t of asked) expect(targets[t]).toBe(values[keys.indexOf(row[t]!)]);
    }
  });

  it("asks in an order that tells nothing, of keys and values that are equally frequent", () => {
    const rows = drawn(params, 20_000);
    expect(
      unevenness(
        rows.map(({ row, keys, asked }) => keys.indexOf(row[asked[0]!]!)),
        8,
      ),
    ).toBeLessThan(1);
    expect(
      unevenness(
        rows.map(({ keys }) => keys[0]! - 1),
        127,
      ),
    ).toBeLessThan(1);
    expect(
      unevenness(
        rows.map(({ keys }) => keys[7]! - 1),
        127,
      ),
    ).toBeLessThan(1);
    expect(
      unevenness(
        rows.map(({ values }) => values[3]! - 128),
        128,
      ),
    ).toBeLessThan(1);
  });

  it.each([0.01, 0.1, 1])("has gaps by a power law (power %f)", (power) => {
    const n = 30_000;
    const rows = drawn(make({ pairs: 1, context: 42, power }), n); // one query: its place alone has the law
    const counts = histogram(
      rows.map(({ asked }) => (asked[0]! - 2) / 2),
      20,
    );
    const total = counts.reduce((sum, _, g) => sum + (g + 1) ** (power - 1), 0);
    const expected = counts.map((_, g) => (n * (g + 1) ** (power - 1)) / total);
    expect(chiSquare(counts, expected)).toBeLessThan(chiSquareLimit(19));
  });

  it("fills what is left with random tokens, or with 0", () => {
    const filler = drawn(params, 4000).map(({ row }) => row[17]!); // queries stand at even positions
    expect(unevenness(filler, 256)).toBeLessThan(1);
    for (const { row, asked } of drawn(make({ random_filler: false }), 50))
      expect(row.every((id, t) => t < 16 || asked.includes(t) === (id !== 0))).toBe(true);
  });

  it("fits as many pairs as the context holds", () => {
    const full = make({ context: 32, pairs: 8 });
    task.check(full);
    for (const { asked } of drawn(full, 50)) expect(asked).toEqual([16, 18, 20, 22, 24, 26, 28, 30]);
  });
});

it("asks, for distance, only for the last query of each row", () => {
  const params = make();
  const all = drawn(params, 100);
  drawn(params, 100, "distant").forEach(({ asked }, r) => {
    expect(asked).toEqual([all[r]!.asked.at(-1)]);
  });
});
