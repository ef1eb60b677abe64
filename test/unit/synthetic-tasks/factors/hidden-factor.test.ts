import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { predictorLevel } from "../../../../backend/training/evaluations.ts";
import { eachItemLast, factorValue, hiddenFactor as task } from "../../../../synthetic-tasks/factors/hidden-factor.ts";
import { tasks } from "../../../../synthetic-tasks/index.ts";

type Params = Parameters<typeof task.sample>[1];
const make = (raw: Record<string, unknown> = {}): Params => tasks.parse(task.name, raw) as Params;

const params = make({ factors: 3, values: 3, examples: 4 });
const world = task.world(params, 5);
const [ITEMS, WIDTH, POSITIONS] = [27, 27 + 3 + 3, 5];

/** The places of the ones in a block of a token. */
function ones(inputs: Float32Array, token: number, [from, to]: readonly [number, number]): number[] {
  const block = [...inputs.subarray(token * WIDTH + from, token * WIDTH + to)];
  expect(block.every((value) => value === 0 || value === 1)).toBe(true);
  return block.flatMap((value, i) => (value === 1 ? [i] : []));
}

/** Rows of a split as they are read from the inputs alone. */
function read(split: string | undefined, rows: number, seed = 1) {
  const random = new Random(seed, 2);
  const batch = split ? task.evaluations[split]!.sample(world, params, random, rows) : task.sample(world, params, random, rows);
  const token = (row: number, t: number, block: readonly [number, number]) => ones(batch.inputs!, row * POSITIONS + t, block);
  return Array.from({ length: rows }, (_, row) => ({
    items: Array.from({ length: POSITIONS }, (_, t) => token(row, t, [0, ITEMS])),
    labels: Array.from({ length: POSITIONS }, (_, t) => token(row, t, [ITEMS, ITEMS + 3])),
    told: Array.from({ length: POSITIONS }, (_, t) => token(row, t, [ITEMS + 3, WIDTH])),
    target: batch.classes![row]!,
  }));
} // biome-ignore format: one line

/** Factors that give all labels of a row, and its target. */
const deciding = ({ items, labels, target }: ReturnType<typeof read>[number]): number[] =>
  [0, 1, 2].filter((factor) =>
    items.every(([item], t) => factorValue(world, params, item!, factor) === (labels[t]![0] ?? target)),
  );

describe("items of hidden factors", () => {
  it("have every combination of values once, in an order of the seed", () => {
    const all = Array.from({ length: ITEMS }, (_, item) =>
      [0, 1, 2].map((factor) => factorValue(world, params, item, factor)).join(""),
    );
    expect(new Set(all).size).toBe(ITEMS);
    expect(all.join("").replaceAll(/[012]/g, "")).toBe("");
    expect(task.world(params, 6).codes).not.toEqual(world.codes);
    expect(task.world(params, 5).codes).toEqual(world.codes);
  });

  it("stand one at a place, with a label but for the last, all by one factor; nothing tells it", () => {
    for (const row of read("hidden", 300)) {
      expect(row.items.map(({ length }) => length)).toEqual([1, 1, 1, 1, 1]);
      expect(row.labels.map(({ length }) => length)).toEqual([1, 1, 1, 1, 0]);
      expect(row.told.flat()).toEqual([]);
      expect(deciding(row).length).toBeGreaterThan(0);
    }
  });

  it("are drawn evenly, as are the deciding factors and whether these are told", () => {
    const rows = 20_000;
    const told = { ...params, told: 0.25 };
    const { layout, inputs } = task.sample(world, told, new Random(3, 1), rows);
    const own = Array.from({ length: rows }, (_, row) => layout!.subarray(row * 7, (row + 1) * 7));
    const share = (of: (row: Int32Array) => boolean) => own.filter(of).length / rows;
    const near = (value: number, expected: number) =>
      expect(Math.abs(value - expected)).toBeLessThan(4 * Math.sqrt((expected * (1 - expected)) / rows));
    for (const rule of [0, 1, 2]) near(share(([first]) => first === rule), 1 / 3);
    for (const item of [0, 13, 26]) near(share((row) => row[6] === item), 1 / ITEMS);
    const hints = own.map(([rule], row) => inputs![row * POSITIONS * WIDTH + ITEMS + 3 + rule!]!);
    near(hints.reduce((a, b) => a + b) / rows, 0.25);
  }); // biome-ignore format: one line each

  it("come with the deciding factor in the split that tells it, and without labels in the bare one", () => {
    for (const row of read("told", 100)) {
      const [factor] = row.told[0]!;
      expect(row.told).toEqual(Array(POSITIONS).fill([factor]));
      expect(deciding(row)).toContain(factor);
    }
    for (const row of read("bare", 100)) expect([...row.labels.flat(), ...row.told.flat()]).toEqual([]);
  });

  it("are each the last of one row where they are asked for so", () => {
    const { batch, items } = eachItemLast(world, params, new Random(1, 1));
    expect(items.toSorted((a, b) => a - b)).toEqual(Array.from({ length: ITEMS }, (_, item) => item));
    items.forEach((item, row) => {
      expect(ones(batch.inputs!, row * POSITIONS + POSITIONS - 1, [0, ITEMS])).toEqual([item]);
    });
  });

  it("are what probes look for", () => {
    const batch = task.sample(world, params, new Random(2, 2), 50);
    const [rule, first] = ["rule", "first-factor"].map((name) => task.probeTargets![name]!.at(world, params, batch));
    if (rule!.kind !== "classes" || first!.kind !== "classes") throw new Error("classes are expected");
    for (let row = 0; row < 50; row++) {
      const last = row * POSITIONS + POSITIONS - 1;
      const [item] = ones(batch.inputs!, last, [0, ITEMS]);
      expect(first!.classes[last]).toBe(factorValue(world, params, item!, 0));
      expect(factorValue(world, params, item!, rule!.classes[last]!)).toBe(batch.classes![row]);
    }
  });

  it("of too great a number are refused", () => {
    expect(() => task.check(make({ factors: 7, values: 4 }))).toThrow(
      expect.objectContaining({ kind: "usage", field: ["factors", "values"] }),
    );
  });
});

describe("Bayes over the factors that may decide", () => {
  it("gives each value the share of the factors that all labels leave, counted from the inputs", () => {
    for (const split of ["hidden", "bare"]) {
      const rows = 200;
      const batch = task.evaluations[split]!.sample(world, params, new Random(1, 2), rows);
      const predicted = task.reference!.predict(world, params, batch);
      read(split, rows).forEach(({ items, labels }, row) => {
        const left = [0, 1, 2].filter((factor) =>
          labels.every(([label], t) => label === undefined || factorValue(world, params, items[t]![0]!, factor) === label),
        );
        for (const value of [0, 1, 2]) {
          const agreeing = left.filter((factor) => factorValue(world, params, items.at(-1)![0]!, factor) === value);
          expect(Math.exp(predicted[3 * row + value]!)).toBeCloseTo(agreeing.length / left.length, 12);
        }
      });
    }
  }); // biome-ignore format: one line

  it("is always right where the factor is told, and as often as a count over items says where labels are withheld", () => {
    const level = (split: string, rows: number) => {
      const batch = task.evaluations[split]!.sample(world, params, new Random(7, 7), rows);
      return predictorLevel(task.shape(params), batch, task.reference!.predict(world, params, batch));
    };
    expect(level("told", 500)).toEqual({ loss: 0, accuracy: 1 });
    // Of 27 combinations of three values 3 have one value thrice, 18 one twice, and 6 none more than once.
    const expected = (3 * 1 + 18 * (2 / 3) + 6 * (1 / 3)) / 27;
    const rows = 20_000;
    const { accuracy } = level("bare", rows);
    expect(Math.abs(accuracy! - expected)).toBeLessThan(4 * Math.sqrt((expected * (1 - expected)) / rows));
  });

  it("comes to know the factor: with many examples it is nearly always right", () => {
    const long = { ...params, examples: 16 };
    const batch = task.evaluations["hidden"]!.sample(world, long, new Random(7, 7), 500);
    expect(predictorLevel(task.shape(long), batch, task.reference!.predict(world, long, batch)).accuracy).toBe(1);
  });
});
