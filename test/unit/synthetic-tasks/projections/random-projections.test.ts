import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import type { Batch } from "../../../../backend/training/task.ts";
import { tasks } from "../../../../synthetic-tasks/index.ts";
import { baseSet, projectionTask } from "../../../../synthetic-tasks/projections/base-set.ts";
import { classifyInContext } from "../../../../synthetic-tasks/projections/context-classifier.ts";
import { randomProjections as task } from "../../../../synthetic-tasks/projections/random-projections.ts";

type Params = Parameters<typeof task.sample>[1];
const make = (raw: Record<string, unknown> = {}): Params => tasks.parse(task.name, raw) as Params;
const mean = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0) / values.length;
const variance = (values: ArrayLike<number>) => mean(Array.from(values, (value) => value ** 2));

/** Tasks of rows: their number, and whether labels are in the task's order. */
const tasksOf = (params: Params, { rows, layout }: Batch) =>
  Array.from({ length: rows }, (_, r) => layout![r * (params.examples + 1)]!).map((entry) =>
    entry < 0 ? { number: -1 - entry, permuted: false } : { number: entry, permuted: true },
  );
/** Items of rows. */
const itemsOf = ({ examples }: Params, { rows, layout }: Batch) =>
  Array.from({ length: rows }, (_, r) => [...layout!.subarray(r * (examples + 1) + 1, (r + 1) * (examples + 1))]);

/** Four standard deviations of the share of n draws that have a probability. */
const bound = (share: number, n: number) => 4 * Math.sqrt((share * (1 - share)) / n);

describe("a base set", () => {
  const size = { classes: 4, items: 500, dimension: 32, epsilon: 0.5 };
  const base = baseSet(size, 3);

  it("has items about a prototype of each class, with numbers of variance 1 and the share ε² / (1 + ε²) of it within a class", () => {
    const d = size.dimension;
    expect(base.items.length).toBe(2 * 4 * 500 * d);
    for (let c = 0; c < 4; c++) {
      const own = Array.from({ length: 1000 }, (_, i) => base.items.subarray((4 * i + c) * d, (4 * i + c + 1) * d));
      const centre = Array.from({ length: d }, (_, j) => mean(own.map((item) => item[j]!)));
      const within = variance(own.flatMap((item) => Array.from(item, (value, j) => value - centre[j]!)));
      expect(within).toBeCloseTo(0.25 / 1.25, 2);
      expect(Math.abs(variance(centre) - 1 / 1.25)).toBeLessThan((4 * Math.sqrt(2 / d)) / 1.25);
    }
  });

  it("differs by seed, and so do its tasks", () => {
    const other = baseSet(size, 4);
    expect(other.items).not.toEqual(base.items);
    expect(projectionTask(other, size, 0)).not.toEqual(projectionTask(base, size, 0));
    expect(baseSet(size, 3)).toEqual(base);
  });

  it("has tasks by number: entries of variance 1 / dimension, and all orders of labels equally often", () => {
    const drawn = Array.from({ length: 2400 }, (_, m) => projectionTask(base, { classes: 3, dimension: 8 }, m));
    expect(drawn[7]).toEqual(projectionTask(base, { classes: 3, dimension: 8 }, 7));
    const entries = drawn.flatMap(({ matrix }) => [...matrix]);
    expect(variance(entries) * 8).toBeCloseTo(1, 1);
    expect(Math.abs(mean(entries))).toBeLessThan(4 / Math.sqrt(8 * entries.length));
    const orders = new Map<string, number>();
    for (const { labels } of drawn) orders.set(labels.join(), (orders.get(labels.join()) ?? 0) + 1);
    expect(orders.size).toBe(6);
    for (const count of orders.values()) expect(Math.abs(count / 2400 - 1 / 6)).toBeLessThan(bound(1 / 6, 2400));
  });
});

describe("sequences of random projections", () => {
  const params = make({ tasks: 5, items: 6, classes: 3, dimension: 4, examples: 7, repeated: 0.3, unpermuted: 0.2 });
  const base = task.world(params, 2);
  const rows = 5000;
  const batch = task.sample(base, params, new Random(2, 1), rows);
  const { dimension: d, classes, examples } = params;
  const width = d + classes;

  it("have an item through the task's matrix and the label before it; the target is the item's label in the task", () => {
    const items = itemsOf(params, batch);
    tasksOf(params, batch)
      .slice(0, 200)
      .forEach(({ number, permuted }, r) => {
        const { matrix, labels } = projectionTask(base, params, number);
        items[r]!.forEach((item, t) => {
          const token = batch.inputs!.subarray((r * examples + t) * width, (r * examples + t + 1) * width);
          for (let i = 0; i < d; i++) {
            const expected = Array.from({ length: d }, (_, j) => matrix[i * d + j]! * base.items[item * d + j]!);
            expect(token[i]!).toBeCloseTo(
              expected.reduce((a, b) => a + b),
              5,
            );
          }
          const target = batch.classes![r * examples + t];
          expect(target).toBe(permuted ? labels[item % classes] : item % classes);
          const before = Array(classes).fill(0);
          if (t > 0) before[batch.classes![r * examples + t - 1]!] = 1;
          expect([...token.subarray(d)]).toEqual(before);
        });
      });
  });

  it("are of every task equally often, but for the shares that are biased", () => {
    const drawn = tasksOf(params, batch);
    const shares = Array.from({ length: 5 }, (_, m) => drawn.filter(({ number }) => number === m).length / rows);
    const expected = [0.3 + 0.7 / 5, ...Array(4).fill(0.7 / 5)];
    shares.forEach((share, m) => {
      expect(Math.abs(share - expected[m]!)).toBeLessThan(bound(expected[m]!, rows));
    });
    const plain = drawn.filter(({ permuted }) => !permuted).length / rows;
    expect(Math.abs(plain - 0.2)).toBeLessThan(bound(0.2, rows));
  });

  it("have different items, all of them equally often at every place", () => {
    const items = itemsOf(params, batch);
    for (const row of items) expect(new Set(row).size).toBe(examples);
    for (const place of [0, examples - 1])
      for (let item = 0; item < 18; item++) {
        const share = items.filter((row) => row[place] === item).length / rows;
        expect(Math.abs(share - 1 / 18)).toBeLessThan(bound(1 / 18, rows));
      }
  });

  it("are of the split: unseen tasks and held-out items where it says so, unbiased, scored at one place", () => {
    const expected = {
      unseen: { seen: false, held: false, place: examples - 1 },
      seen: { seen: true, held: false, place: examples - 1 },
      "seen-first": { seen: true, held: false, place: 0 },
      "new-items": { seen: true, held: true, place: examples - 1 },
      "all-new": { seen: false, held: true, place: examples - 1 },
    };
    for (const [name, { seen, held, place }] of Object.entries(expected)) {
      const drawn = task.evaluations[name]!.sample(base, params, new Random(2, 77), 300);
      const numbers = tasksOf(params, drawn);
      expect(numbers.every(({ number, permuted }) => permuted && number < 5 === seen)).toBe(true);
      expect(new Set(numbers.map(({ number }) => number)).size).toBe(seen ? 5 : 300);
      expect(
        itemsOf(params, drawn)
          .flat()
          .every((item) => item >= 18 === held),
      ).toBe(true);
      expect(drawn.weights.every((weight, i) => weight === Number(i % examples === place))).toBe(true);
    }
  });

  it.each([
    [{ items: 2, classes: 3, examples: 7 }, "items"],
    [{ repeated: 0.6, unpermuted: 0.5 }, "unpermuted"],
  ])("that can't be are refused: %j", (raw, field) => {
    expect(() => task.check(make(raw))).toThrow(
      expect.objectContaining({ kind: "usage", field: expect.arrayContaining([field]) }),
    );
  });
});

describe("the classifier of contexts", () => {
  it("gives the ratios of joint normal densities", () => {
    const path = new URL("../../../oracles/context_classifier.json", import.meta.url);
    const { cases } = JSON.parse(readFileSync(path, "utf8"));
    for (const { count, between, within, points, labels, logs } of cases) {
      const x = Float32Array.from(points.flat());
      const own = classifyInContext({ x, labels, dimension: points[0].length }, count, { between, within });
      logs.flat().forEach((log: number, i: number) => {
        expect(own[i]!).toBeCloseTo(log, 5);
      });
    }
  });

  it("knows nothing at the first item, and most labels at the last, on tasks that were never seen", () => {
    const params = make();
    const base = task.world(params, 1);
    const drawn = task.evaluations["all-new"]!.sample(base, params, new Random(1, 5), 400);
    const predicted = task.reference!.predict(base, params, drawn);
    const { classes, examples } = params;
    const right = (place: number) =>
      mean(
        Array.from({ length: 400 }, (_, r) => {
          const at = r * examples + place;
          const own = predicted.subarray(at * classes, (at + 1) * classes);
          return own.indexOf(Math.max(...own)) === drawn.classes![at] ? 1 : 0;
        }),
      );
    expect(Math.abs(right(0) - 0.25)).toBeLessThan(bound(0.25, 400));
    expect(right(examples - 1)).toBeGreaterThan(0.9);
  });
});
