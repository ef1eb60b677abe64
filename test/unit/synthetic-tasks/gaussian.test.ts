import { describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { gaussianClassification as task } from "../../../synthetic-tasks/gaussian-classification.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { chiSquare, chiSquareLimit, histogram, slope, unevenness } from "../../helpers/statistics.ts";

type Params = Parameters<typeof task.sample>[1];
const make = (raw: Record<string, unknown> = {}): Params => {
  const params = tasks.parse(task.name, raw) as Params;
  task.check(params);
  return params;
};

/** Rows of a split as classes of items, class of the query, and target. */
function drawn(params: Params, count: number, split = "training", seed = 4) {
  const world = task.world(params, seed);
  const random = new Random(seed, 1);
  const batch =
    split === "training"
      ? task.sample(world, params, random, count)
      : task.evaluations[split]!.sample(world, params, random, count);
  const width = params.N + 2;
  const rows = Array.from({ length: count }, (_, r) => ({
    items: [...batch.layout!.subarray(r * width, r * width + params.N)],
    query: batch.layout![r * width + params.N]!,
    target: batch.classes![r]!,
  }));
  return { world, batch, rows };
}

/** What a model reads at a position: where its one-hot block is hot, and its content [D]. */
function token({ N, N_max, D }: Params, inputs: Float32Array, row: number, t: number) {
  const block = 2 * N_max + 1;
  const at = (row * (2 * N + 1) + t) * (block + D);
  const hot = [...inputs.subarray(at, at + block)].flatMap((value, i) => (value === 1 ? [i] : []));
  const others = inputs.subarray(at, at + block).filter((value) => value !== 0 && value !== 1).length;
  return { hot, others, content: inputs.subarray(at + block, at + block + D) };
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, value, i) => sum + value * b[i]!, 0);

/** Index of the vector of [n, D] that is nearest in angle. */
function nearest(x: ArrayLike<number>, vectors: Float32Array, D: number): number {
  const scores = Array.from({ length: vectors.length / D }, (_, k) => dot(x, vectors.subarray(k * D, (k + 1) * D)));
  return scores.indexOf(Math.max(...scores));
}

describe("bursty sequences", () => {
  it("hold N / B different classes, B copies of each, and the query's among them", () => {
    for (const [N, B] of [
      [8, 4],
      [8, 1],
      [8, 8],
      [12, 3],
    ] as const) {
      for (const { items, query, target } of drawn(make({ N, B }), 400).rows) {
        const counts = new Map<number, number>();
        for (const k of items) counts.set(k, (counts.get(k) ?? 0) + 1);
        expect([...counts.values()]).toEqual(Array(N / B).fill(B));
        expect(counts.has(query)).toBe(true);
        expect(target).toBe(query % 32);
      }
    }
  });

  it("are shuffled: a copy of the query's class stands at every place equally often", () => {
    const { rows } = drawn(make({ B: 1, D: 1 }), 20_000);
    expect(
      unevenness(
        rows.map(({ items, query }) => items.indexOf(query)),
        8,
      ),
    ).toBeLessThan(1);
  });

  it("are the share p_B of all, the others draw items and query independently", () => {
    const n = 4000;
    const { rows } = drawn(make({ p_B: 0.3, D: 1, K: 4096 }), n);
    const bursty = rows.filter(({ items, query }) => items.filter((k) => k === query).length === 4).length;
    // Independent draws from 4,096 classes hold four of the query's class practically never.
    expect(Math.abs(bursty / n - 0.3)).toBeLessThan(4 * Math.sqrt((0.3 * 0.7) / n));
  });
});

describe("frequencies of classes and labels", () => {
  it("are even without alpha, and so are those of labels", () => {
    const { rows } = drawn(make({ B: 0, D: 1 }), 30_000);
    expect(
      unevenness(
        rows.map(({ query }) => query),
        512,
      ),
    ).toBeLessThan(1);
    expect(
      unevenness(
        rows.map(({ items }) => items[0]!),
        512,
      ),
    ).toBeLessThan(1);
    expect(
      unevenness(
        rows.map(({ target }) => target),
        32,
      ),
    ).toBeLessThan(1);
  });

  it.each([0.5, 1, 1.5])("fall by Zipf's law with slope -%f", (alpha) => {
    const n = 40_000;
    const K = 64;
    const { rows } = drawn(make({ B: 0, D: 1, K, alpha }), n);
    const counts = histogram(
      rows.map(({ query }) => query),
      K,
    );
    const total = counts.reduce((sum, _, k) => sum + (k + 1) ** -alpha, 0);
    const expected = counts.map((_, k) => (n * (k + 1) ** -alpha) / total);
    expect(chiSquare(counts, expected)).toBeLessThan(chiSquareLimit(K - 1));
    // The logarithm of a count has variance 1 / count.
    const ranks = counts.map((_, k) => Math.log(k + 1));
    const [fitted, error] = slope(
      ranks,
      counts.map((count) => Math.log(count)),
      expected,
    );
    expect(Math.abs(fitted + alpha)).toBeLessThan(4 * error);
    expect(error).toBeLessThan(0.01); // the sample can tell these slopes apart
  });

  it("keep classes different where the first takes nearly everything", () => {
    for (const { items } of drawn(make({ B: 1, alpha: 8, D: 1 }), 50).rows) expect(new Set(items).size).toBe(8);
  });
});

describe("what a model reads", () => {
  const params = make();
  const { N, D, N_max, epsilon } = params;
  const { world, batch, rows } = drawn(params, 2000);

  it("has positions that begin at a random one of the one-hot block, equally often", () => {
    const starts = rows.map((_, r) => {
      const seen = Array.from({ length: 2 * N + 1 }, (_, t) => token(params, batch.inputs!, r, t));
      const first = seen[0]!.hot[0]!;
      expect(seen.map(({ hot }) => hot)).toEqual(seen.map((_, t) => [first + t]));
      expect(seen.every(({ others }) => others === 0)).toBe(true);
      return first;
    });
    expect(unevenness(starts, 2 * (N_max - N) + 1)).toBeLessThan(1);
  });

  it("has labels as their means, exactly", () => {
    rows.slice(0, 100).forEach(({ items }, r) => {
      items.forEach((k, i) => {
        const label = k % 32;
        const { content } = token(params, batch.inputs!, r, 2 * i + 1);
        expect(content).toEqual(world.labels.subarray(label * D, (label + 1) * D));
      });
    });
  });

  it("has items (mean + epsilon eta) / sqrt(1 + epsilon²), eta of variance 1 / D", () => {
    let sum = 0;
    let square = 0;
    let n = 0;
    rows.forEach(({ items, query }, r) => {
      [...items, query].forEach((k, i) => {
        const { content } = token(params, batch.inputs!, r, 2 * i);
        content.forEach((x, j) => {
          const eta = ((x * Math.sqrt(1 + epsilon ** 2) - world.trained.means[k * D + j]!) / epsilon) * Math.sqrt(D);
          sum += eta;
          square += eta ** 2;
          n++;
        });
      });
    });
    expect(Math.abs(sum / n)).toBeLessThan(4 / Math.sqrt(n));
    expect(Math.abs(square / n - 1)).toBeLessThan(4 * Math.sqrt(2 / n));
  });

  it("has means of variance 1 / D", () => {
    const values = [...world.trained.means, ...world.labels];
    const variance = (values.reduce((total, value) => total + value ** 2, 0) / values.length) * D;
    expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(2 / values.length));
  });

  it("has other means for another seed", () => {
    expect(task.world(params, 5).trained.means).not.toEqual(world.trained.means);
    expect(task.world(params, 4)).toEqual(world);
  });
});

describe("evaluations, read by two rules", () => {
  const params = make();
  const { N, D } = params;
  const n = 300;

  /** Accuracy of copying the label beside the most similar item of the context, and of the label of the nearest trained mean. */
  function rules(split: string): { context: number; weights: number } {
    const { world, batch, rows } = drawn(params, n, split);
    let [context, weights] = [0, 0];
    rows.forEach(({ target }, r) => {
      const { content: query } = token(params, batch.inputs!, r, 2 * N);
      const scores = Array.from({ length: N }, (_, i) => dot(query, token(params, batch.inputs!, r, 2 * i).content));
      const beside = token(params, batch.inputs!, r, 2 * scores.indexOf(Math.max(...scores)) + 1).content;
      if (nearest(beside, world.labels, D) === target) context++;
      if (nearest(query, world.trained.means, D) % 32 === target) weights++;
    });
    return { context: context / n, weights: weights / n };
  }
  // What guessing right in 1 of 32 may reach in 300 rows, at four standard deviations.
  const guessing = 1 / 32 + 4 * Math.sqrt(1 / 32 / n);

  it("in-context: the context tells the label, weights don't", () => {
    const { context, weights } = rules("in-context");
    expect(context).toBe(1);
    expect(weights).toBeLessThan(guessing);
  });

  it("in-weights: weights tell it, and the query's class is not in the context", () => {
    const { context, weights } = rules("in-weights");
    expect(weights).toBe(1);
    expect(context).toBeLessThan(guessing);
    for (const { items, query } of drawn(make({ K: 32, alpha: 1.5 }), 500, "in-weights").rows)
      expect(items).not.toContain(query);
  });

  it("swapped: the two tell different labels, and each evaluation asks for one", () => {
    expect(rules("swapped")).toEqual({ context: 1, weights: 0 });
    expect(rules("swapped-weights")).toEqual({ context: 0, weights: 1 });
  });

  it("new classes are drawn for the share p_C of training sequences, with labels in equal shares", () => {
    const count = 4000;
    const { rows } = drawn(make({ p_C: 0.25, D: 1 }), count);
    const fresh = rows.filter(({ query }) => query >= params.K);
    expect(Math.abs(fresh.length / count - 0.25)).toBeLessThan(4 * Math.sqrt((0.25 * 0.75) / count));
    const evaluated = drawn(make({ D: 1 }), 20_000, "in-context").rows;
    expect(
      unevenness(
        evaluated.map(({ query }) => query - params.K),
        128,
      ),
    ).toBeLessThan(1);
    expect(evaluated.every(({ query, target }) => query % 32 === target)).toBe(true);
  });
});
