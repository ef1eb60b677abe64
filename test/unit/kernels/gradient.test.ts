import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { evaluation, type GradientCall, gradient, type TrainedModel } from "../../../backend/kernels/gradient.ts";
import { useThreads } from "../../../backend/kernels/kernels.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { refused } from "../../helpers/errors.ts";
import { kernelsHere, largest } from "../../helpers/kernels/here.ts";
import { type LossCase, lossInFloat64 } from "../../helpers/kernels/reference-loss.ts";

const { ready, threads } = await kernelsHere();

type Options = Partial<Omit<TrainedModel, "places">> & { tokens?: boolean; classes?: boolean; learned?: boolean };

/** A model with all that its options ask for, its parameters one after the other. */
function modelOf(options: Options): { model: TrainedModel; parameters: number } {
  const { tokens = true, learned = false, ...given } = options;
  const sizes = {
    layers: 2, heads: 2, width: 6, head: 3, mlp: 0, activation: "relu", norm: "LN", epsilon: 1e-5, scale: 0.7,
    rotary: false, positions: 5, inputs: 7, outputs: 4, last: false, readout: [], ...given,
  } as const; // biome-ignore format: a table
  const { width, head, heads, mlp, norm, inputs, outputs, readout } = sizes;
  let parameters = 0;
  const place = (size: number, has = true): number => {
    if (!has || size === 0) return -1;
    parameters += size;
    return parameters - size;
  };
  const normed = norm !== "none";
  const norms = (has: boolean): number[] => [place(width, has), place(width, has && norm === "LN")];
  const widths = [width, ...readout];
  const places = [
    ...[place(inputs * width), place(width, !tokens), place(sizes.positions * width, learned)],
    ...Array.from({ length: sizes.layers }, () => [
      ...norms(normed),
      ...[place(3 * heads * head * width), place(heads * head * width)],
      ...norms(normed && mlp > 0),
      ...[place(mlp * width), place(mlp), place(width * mlp), place(width, mlp > 0)],
    ]).flat(),
    ...norms(normed),
    ...[...readout, outputs].flatMap((out, i) => [place(out * widths[i]!), place(out, i < readout.length || !tokens)]),
  ];
  const { classes: _, ...model } = sizes as typeof sizes & { classes?: boolean };
  return { model: { ...model, places }, parameters };
}

function caseOf(model: TrainedModel, options: Options, random: Random, rows: number): LossCase {
  const { tokens = true, classes = true } = options;
  const cells = rows * model.positions;
  const scored = model.last ? rows : cells;
  const normals = (count: number): Float32Array => Float32Array.from({ length: count }, () => random.normal());
  const ids = (count: number, end: number): Int32Array =>
    Int32Array.from({ length: count }, () => random.integer(0, end));
  const angles = normals(model.positions * model.head);
  return {
    rows,
    classes,
    read: tokens ? ids(cells, model.inputs) : normals(cells * model.inputs),
    targets: classes ? ids(scored, model.outputs) : normals(scored * model.outputs),
    weights: Float32Array.from({ length: scored }, (_, i) => (i % 3 === 1 ? 0 : 1 + random.normal() / 4)),
    tables: model.rotary ? [angles.map(Math.cos), angles.map(Math.sin)] : undefined,
  };
}

function callOf(
  model: TrainedModel,
  cases: readonly LossCase[],
  parameters: readonly Float32Array[],
  run: (model: TrainedModel, call: GradientCall) => Tensor[] = gradient,
): Tensor[] {
  const join = (rows: readonly ArrayLike<number>[]): number[] => rows.flatMap((row) => Array.from(row));
  const dense = (rows: ArrayLike<number>[], width: number): Tensor =>
    rows[0] instanceof Int32Array
      ? tf.tensor1d(join(rows), "int32")
      : tf.tensor2d(join(rows), [join(rows).length / width, width]);
  const [first] = cases;
  return run(model, {
    parameters: tf.tensor2d(join(parameters), [cases.length, parameters[0]!.length]),
    read: dense(cases.map(({ read }) => read), model.inputs),
    targets: dense(cases.map(({ targets }) => targets), model.outputs),
    weights: tf.tensor1d(join(cases.map(({ weights }) => weights))),
    tables: (first!.tables ?? []).map((t) => tf.tensor2d(Array.from(t), [model.positions, model.head])),
  }); // biome-ignore format: a table
}

const MODELS: readonly [string, Options][] = [
  ["attention alone", {}],
  ["learned positions, RMS norms", { learned: true, norm: "RMS" }],
  ["rotation, no norms", { rotary: true, head: 4, norm: "none" }],
  ["heads of several vectors, rotated", { rotary: true, head: 18, heads: 3, width: 20, positions: 21 }],
  ["MLPs with relu", { mlp: 9, activation: "relu" }],
  ["MLPs with gelu", { mlp: 5, activation: "gelu", norm: "RMS" }],
  ["MLPs with gelu_new, no norms", { mlp: 19, activation: "gelu_new", norm: "none" }],
  ["MLPs with silu, the last position", { mlp: 8, activation: "silu", last: true, learned: true }],
  ["vectors, a readout, the last position", { tokens: false, readout: [5, 17], last: true, norm: "none" }],
  ["vectors to values, rotated", { tokens: false, classes: false, inputs: 3, outputs: 2, rotary: true, head: 2, mlp: 4 }],
  ["one layer, the last position, heads of several vectors", { layers: 1, last: true, head: 18, heads: 3, width: 20, positions: 21, norm: "RMS" }],
  ["one layer, the last position, rotated", { layers: 1, last: true, rotary: true, head: 16, positions: 17 }],
  ["more positions than go together", { layers: 1, heads: 1, width: 3, head: 2, positions: 150 }],
]; // biome-ignore format: a table

describe.skipIf(!ready)("the gradient of a narrow model", () => {
  afterAll(() => useThreads(threads));

  it.each(MODELS)("is that of float64: %s", (_, options) => {
    const random = new Random(11);
    const { model, parameters } = modelOf(options);
    const values = Float32Array.from({ length: parameters }, () => 0.6 * random.normal());
    const given = caseOf(model, options, random, 3);
    const [loss, sum, gradients] = callOf(model, [given], [values]).map((t) => t.dataSync());
    expect(sum![0]).toBeCloseTo(
      Array.from(given.weights).reduce((a, b) => a + b, 0),
      4,
    );
    const want = lossInFloat64(model, values, given);
    expect(Math.abs(loss![0]! - want)).toBeLessThan(1e-5 * Math.abs(want) + 1e-5);
    const most = largest(gradients!);
    // Both ends of every part and some within, by differences in float64.
    const ends = model.places
      .filter((place) => place >= 0)
      .flatMap((place) => [place, place > 0 ? place - 1 : parameters - 1]);
    const some = Array.from({ length: 20 }, () => random.integer(0, parameters));
    for (const at of new Set([...ends, ...some])) {
      const moved = (by: number): number =>
        lossInFloat64(
          model,
          Array.from(values, (v, i) => (i === at ? v + by : v)),
          given,
        );
      const slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
      expect(Math.abs(gradients![at]! - slope) / most).toBeLessThan(5e-6);
    }
  });

  it.each(MODELS)("comes with the losses of an evaluation, bit for bit: %s", (_, options) => {
    const random = new Random(14);
    const { model, parameters } = modelOf(options);
    const values = [0, 1].map(() => Float32Array.from({ length: parameters }, () => 0.6 * random.normal()));
    const cases = values.map(() => caseOf(model, options, random, 9));
    const [losses, sums] = callOf(model, cases, values).map((t) => t.dataSync());
    const [alone, weights] = callOf(model, cases, values, evaluation).map((t) => t.dataSync());
    expect(alone).toEqual(losses);
    expect(weights).toEqual(sums);
  });

  it("has the weights of classes with the largest output beside an evaluation's losses", () => {
    // Without heads and with the unembedding as it is given, logits are the embeddings: a token's class is its largest one.
    const { model, parameters } = modelOf({
      layers: 1,
      heads: 1,
      head: 1,
      width: 4,
      norm: "none",
      positions: 2,
      inputs: 4,
    });
    const values = new Float32Array(parameters);
    for (let i = 0; i < 4; i++)
      for (const matrix of [model.places[0]!, model.places.at(-2)!]) values[matrix + 5 * i] = 1;
    const given = {
      rows: 2,
      classes: true,
      read: Int32Array.of(0, 1, 2, 3),
      targets: Int32Array.of(0, 2, 2, 3),
      weights: [1, 10, 100, 0.5],
    };
    const [loss, sum, right] = callOf(model, [given], [values], evaluation).map((t) => t.dataSync()[0]);
    expect([sum, right]).toEqual([111.5, 101.5]);
    expect(loss).toBeCloseTo(111.5 * Math.log(Math.E + 3) - 101.5, 3);
  });

  it("has the same bits for any number of threads, and of a seed alone and among others", () => {
    const random = new Random(12);
    const options: Options = { mlp: 11, activation: "gelu", learned: true, positions: 9 };
    const { model, parameters } = modelOf(options);
    const values = Array.from({ length: 3 }, () =>
      Float32Array.from({ length: parameters }, () => random.normal() / 2),
    );
    const cases = values.map(() => caseOf(model, options, random, 37));
    const runs = [1, 2, 5].map((count) => {
      useThreads(count);
      return callOf(model, cases, values).map((t) => Array.from(t.dataSync()));
    });
    expect(runs[1]).toEqual(runs[0]);
    expect(runs[2]).toEqual(runs[0]);
    const alone = callOf(model, [cases[1]!], [values[1]!]).map((t) => Array.from(t.dataSync()));
    expect(alone).toEqual(runs[0]!.map((all) => all.slice(all.length / 3, (2 * all.length) / 3)));
  });

  it("refuses what does not fit", () => {
    const options: Options = { mlp: 4 };
    const { model, parameters } = modelOf(options);
    const given = caseOf(model, options, new Random(13), 2);
    const values = new Float32Array(parameters);
    const call = (changed: Partial<TrainedModel>, other: Partial<LossCase> = {}, size = values): void => {
      callOf({ ...model, ...changed }, [{ ...given, ...other }], [size]);
    };
    const { places } = model;
    const wrong: [string, () => void][] = [
      ["a token beyond the vocabulary", () => call({}, { read: Int32Array.from(given.read, () => 7) })],
      ["a token below it", () => call({}, { read: Int32Array.from(given.read, () => -1) })],
      ["a class beyond the outputs", () => call({}, { targets: Int32Array.from(given.targets, () => 4) })],
      ["too few weights", () => call({}, { weights: [1] })],
      ["a place too few", () => call({ places: places.slice(1) })],
      ["a missing matrix", () => call({ places: places.map((p, i) => (i === 5 ? -1 : p)) })],
      ["a place beyond the parameters", () => call({ places: places.map((p, i) => (i === 5 ? 2 ** 31 - 1 : p)) })],
      ["places that overlap", () => call({ places: places.map((p, i) => (i === 5 ? places[6]! : p)) })],
      ["parameters left over", () => call({}, {}, new Float32Array(parameters + 1))],
      ["sequences that are not whole", () => call({ positions: 4 })],
      ["no heads", () => call({ heads: 0 })],
      ["a readout layer without width", () => call({ readout: [0] })],
    ];
    for (const [what, make] of wrong) expect(make, what).toThrow(refused("usage"));
    expect(() => call({})).not.toThrow();
  });
});
