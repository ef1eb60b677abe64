import { describe, expect, it } from "vitest";
import { HeadscopeError } from "../../../backend/common/errors.ts";
import { Random } from "../../../backend/common/random.ts";
import { modelParameters, trainingParameters } from "../../../backend/training/parameters.ts";
import type { Batch, SyntheticTask } from "../../../backend/training/task.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";

const ROWS = 17;

/** Every way in which a task draws sequences, by name. */
function splits(task: SyntheticTask, params: Record<string, unknown>, seed: number) {
  const world = task.world(params, seed);
  const own = { name: "training", sample: (random: Random) => task.sample(world, params, random, ROWS) };
  const held = Object.entries(task.evaluations).map(([name, evaluation]) => ({
    name,
    sample: (random: Random) => evaluation.sample(world, params, random, ROWS),
  }));
  return [own, ...held];
}

const arrays = (batch: Batch) =>
  Object.values(batch).filter((value): value is Float32Array | Int32Array => ArrayBuffer.isView(value));

describe.each(tasks.list().map((task) => [task.name, task] as const))("task %s", (name, task) => {
  const params = tasks.parse(name);

  it("accepts its defaults, and names no parameter that a model or a training has", () => {
    expect(() => task.check(params)).not.toThrow();
    const taken = new Set([...Object.keys(modelParameters.shape), ...Object.keys(trainingParameters.shape)]);
    expect(Object.keys(task.parameters.shape).filter((key) => taken.has(key))).toEqual([]);
    expect(tasks.flags(name).every((flag) => flag.description !== "" && flag.default !== undefined)).toBe(true);
  });

  it("has defaults that models and trainings take", () => {
    expect(modelParameters.strict().safeParse(task.defaults?.model ?? {}).success).toBe(true);
    expect(trainingParameters.strict().safeParse(task.defaults?.training ?? {}).success).toBe(true);
  });

  it("draws batches of its shape", () => {
    const { input, output, positions, scored } = task.shape(params);
    const outputs = ROWS * (scored === "all" ? positions : 1);
    for (const { sample } of splits(task, params, 3)) {
      const { rows, tokens, inputs, classes, values, weights } = sample(new Random(3, 1));
      expect(rows).toBe(ROWS);
      expect(weights.length).toBe(outputs);
      expect(weights.every((weight) => weight === 0 || weight === 1)).toBe(true);
      expect(weights.reduce((a, b) => a + b)).toBeGreaterThanOrEqual(ROWS);
      if (input.kind === "tokens") {
        expect(tokens!.length).toBe(ROWS * positions);
        expect(tokens!.every((id) => id >= 0 && id < input.vocabulary)).toBe(true);
      } else {
        expect(inputs!.length).toBe(ROWS * positions * input.width);
        expect(inputs!.every(Number.isFinite)).toBe(true);
      }
      if (output.kind === "classes") {
        expect(classes!.length).toBe(outputs);
        expect(classes!.every((id) => id >= 0 && id < output.count)).toBe(true);
      } else expect(values!.length).toBe(outputs * output.width);
    }
  });

  it("draws the same batch from the same seed and step, another from another", () => {
    const first = splits(task, params, 5).map(({ sample }) => sample(new Random(5, 9)));
    const again = splits(task, params, 5).map(({ sample }) => sample(new Random(5, 9)));
    const step = splits(task, params, 5).map(({ sample }) => sample(new Random(5, 10)));
    first.forEach((batch, i) => {
      expect(arrays(again[i]!)).toEqual(arrays(batch));
      expect(arrays(step[i]!)).not.toEqual(arrays(batch));
    });
  });

  it("says what guessing reaches, and describes a row of every split", () => {
    const world = task.world(params, 1);
    for (const evaluation of Object.values(task.evaluations)) {
      const batch = evaluation.sample(world, params, new Random(1), 2);
      expect(evaluation.chance?.(params).loss).toBeGreaterThan(0);
      expect(task.describe(world, params, batch, 1)).toMatch(/\d/);
    }
  });
});

it.each<[string, Record<string, unknown>, RegExp]>([
  ["gaussian-classification", { K: 33 }, /K 33 is not a multiple of L 32.*K 32 or 64/],
  ["gaussian-classification", { N: 9 }, /N 9 is not divisible by B 4.*B that divides N/],
  ["gaussian-classification", { N: 40 }, /N 40 pairs do not fit.*N_max 32.*N_max 40 or more/],
  ["gaussian-classification", { L: 2, K: 4, B: 1 }, /8 different classes.*K is 4.*K 8 or more/],
  ["gaussian-classification", { L: 2, K: 4, B: 0 }, /8 different classes.*K is 4.*K 8 or more/],
  ["associative-recall", { pairs: 17 }, /pairs 17 do not fit context 64.*68.*at most 16 pairs/],
  ["associative-recall", { vocabulary: 16 }, /vocabulary 16 has 7 keys.*pairs 8.*at least 18/],
  ["bandits", { arms_min: 6 }, /arms_min 6 is more than arms_max 5/],
  ["bandits", { arms_max: 8 }, /arms_beyond 7 is less than arms_max 8.*arms_beyond 8 or more/],
  ["bandits", { arms_beyond: 11 }, /arms_beyond 11 is more than the 10 names.*names 11 or more/],
  ["copy", { length_min: 17 }, /length_min 17 is more than length_max 16/],
  ["copy", { context: 32 }, /length_max 16 does not fit context 32.*33 tokens.*at least 33.*at most 15/],
  ["copy", { vocabulary: 17 }, /vocabulary 17 has 15 letters.*16 different.*at least 18/],
  ["induction", { context: 63 }, /segment_max 24 with gap_max 15.*64 tokens, more than context 63.*at least 64/],
  ["induction", { segment_min: 25 }, /segment_min 25 is more than segment_max 24/],
])("%s refuses %o, saying which constraint it breaks and what would do", (name, raw, line) => {
  const params = tasks.parse(name, raw);
  let error: unknown;
  try {
    tasks.get(name).check(params);
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(HeadscopeError);
  const { kind, line: text } = error as HeadscopeError;
  expect(kind).toBe("usage");
  expect(text).toMatch(line);
});
