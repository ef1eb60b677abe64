import type { Tensor, Tensor2D } from "@tensorflow/tfjs";
import { afterAll, describe, expect, it } from "vitest";
import { metricGradient } from "../../../../backend/circuits/metrics/measure.ts";
import { FORMATS, formatHolding, packedBytes } from "../../../../backend/kernels/formats.ts";
import { backward } from "../../../../backend/models/backward/backward.ts";
import { storeRun } from "../../../../backend/models/backward/stored-run.ts";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import type { Part, Piece } from "../../../../backend/models/families/family.ts";
import { readPart } from "../../../../backend/models/families/index.ts";
import { QUANTISATIONS } from "../../../../backend/models/formats/gguf/quantisation.ts";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import { readSafetensors } from "../../../../backend/models/formats/safetensors/safetensors.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { ForwardOptions } from "../../../../backend/models/forward/types.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { heldBytes, readMatrix } from "../../../../backend/models/sources/held.ts";
import type { Matrix } from "../../../../backend/models/weights/matrix.ts";
import { parameter, parameterNames } from "../../../../backend/models/weights/parameters.ts";
import { functions } from "../../../../backend/runtime/capture.ts";
import { hasNative } from "../../../../backend/runtime/ops.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { kernelsHere, relativeError } from "../../../helpers/kernels/here.ts";
import { leavesNoTensors, maxDifference, randomTokens } from "../../../helpers/models.ts";

const { ready } = await kernelsHere();
const checkpoint = await openCheckpoint(fixture("formats/quantised.gguf"));
const { tensors: expected } = await readSafetensors(fixture("formats/quantised.safetensors"));
afterAll(() => checkpoint.close());
afterAll(() => functions.clear());

const asStored = { weights: "q8", kernels: ready } as const;
const CODED = QUANTISATIONS.filter(({ narrow }) => narrow).map(({ name }) => name);
const bits = (values: ArrayLike<number>) => [...new Uint32Array(Float32Array.from(values).buffer)];
/** The same with one zero, since codes with another zero or a minimum have only that one. */
const values = (numbers: ArrayLike<number>) => Array.from(numbers, (value) => value + 0);
const piece = (tensor: string, changes: Partial<Piece> = {}): Piece => ({
  tensor,
  shape: checkpoint.tensors.get(tensor)!.shape,
  ...changes,
});
const shapeOf = (part: Part): [number, number] => [
  part.reduce((sum, { shape, rows }) => sum + (rows?.length ?? shape[0]!), 0),
  part[0]!.shape[1]!,
];
const read = (part: Part): Promise<Matrix> => readMatrix(checkpoint, part, shapeOf(part), asStored);
const wide = (matrix: Matrix): number[] => tf.tidy(() => [...matrix.widen().dataSync()]);

describe("a matrix held as a file has it", () => {
  leavesNoTensors();

  it.each(QUANTISATIONS.map(({ name }) => name))(
    "of %s widens to the bits that the Python package gguf gives",
    async (name) => {
      const part = [piece(name)];
      const matrix = await read(part);
      expect(bits(wide(matrix))).toEqual(bits(expected.get(name)!.data as Float32Array));
      if (hasNative()) expect(matrix.bytes).toBe(heldBytes(checkpoint, part, shapeOf(part), asStored));
      expect(matrix.narrow).toBe(ready ? name !== "F32" : hasNative() && CODED.includes(name));
      matrix.dispose();
    },
  );

  it.each(CODED.flatMap((a) => CODED.map((b) => [a, b] as const)))(
    "of %s above %s keeps every weight of both",
    async (a, b) => {
      const part = [piece(a), piece(b)];
      const matrix = await read(part);
      const floats = values(await readPart(checkpoint, part));
      expect(values(wide(matrix))).toEqual(floats);
      const index = tf.tensor1d([3, 0, 2], "int32");
      const rows = tf.tidy(() => matrix.rows(index));
      expect(values(rows.dataSync())).toEqual([3, 0, 2].flatMap((row) => floats.slice(512 * row, 512 * (row + 1))));
      if (hasNative()) expect(matrix.bytes).toBe(heldBytes(checkpoint, part, shapeOf(part), asStored));
      tf.dispose([index, rows]);
      matrix.dispose();
    },
  );

  it.each(["Q4_0", "Q4_1", "Q8_0", "Q5_0", "Q6_K"])("of %s keeps its rows in a family's order", async (name) => {
    const part = [piece(name, { permute: { rotaryHeads: 1 }, rows: [1, 0, 0, 1] }), piece(name, { rows: [1] })];
    const matrix = await read(part);
    expect(values(wide(matrix))).toEqual(values(await readPart(checkpoint, part)));
    matrix.dispose();
  });

  it("lets a gradient through to what it is multiplied with", async () => {
    const matrix = await read([piece("Q4_1"), piece("Q6_K")]);
    const x = tf.randomNormal([3, 512], 0, 1, "float32", 1);
    const gradient = tf.grad((x) => tf.sum(tf.square(matrix.apply(x))));
    const [got, want] = tf.tidy(() => {
      const w = matrix.widen();
      const y = tf.matMul(x as Tensor2D, w as Tensor2D, false, true);
      return [gradient(x), tf.mul(2, tf.matMul(y, w as Tensor2D))].map((t) => [...t.dataSync()]);
    });
    expect(relativeError(got!, want!)).toBeLessThan(1e-6);
    x.dispose();
    matrix.dispose();
  });

  it("is float32 beside plain numbers, and where it is turned round or added to", async () => {
    for (const part of [
      [piece("F16"), piece("BF16")],
      [piece("F16"), piece("F32")],
      [piece("F16", { add: 1 })],
      [piece("BF16", { transpose: true })],
    ] satisfies Part[]) {
      const [rows, width] = shapeOf(part);
      const shape: [number, number] = part[0]!.transpose ? [width, rows] : [rows, width];
      const matrix = await readMatrix(checkpoint, part, shape, asStored);
      expect(matrix.narrow).toBe(false);
      expect(wide(matrix)).toEqual([...(await readPart(checkpoint, part))]);
      matrix.dispose();
    }
  });
});

describe("the smallest format that holds types of codes side by side", () => {
  it.each([
    [["Q4_1", "Q4_1"], "q4_1"],
    [["Q4_0", "Q8_0"], "q8_0"],
    [["Q4_0", "Q4_1"], "q8_1"],
    [["Q5_0", "Q8_0"], "q8_0"],
    [["Q4_K", "Q2_K"], "q2_k"],
    [["Q4_K", "Q6_K"], "mixed"],
    [["Q4_K", "Q5_0"], "q5_k"],
    [["Q3_K", "Q6_K"], "q6_k"],
  ] as const)("of %j is %s", (types, format) => {
    expect(formatHolding(...types)).toBe(format);
    expect(formatHolding(...types.toReversed())).toBe(format);
  });

  it("is a type's own for one type, takes what the file does where rows go as they lie, and there is none for a mixture with numbers", () => {
    for (const { name, holds } of FORMATS) for (const type of holds) expect(formatHolding(type)).toBe(name);
    for (const { name, elements, bytes } of QUANTISATIONS)
      if (FORMATS.some((format) => "rowsOf" in format && format.rowsOf === name))
        expect(packedBytes(formatHolding(name)!, [32, 512])).toBe((32 * 512 * bytes) / elements);
    expect(formatHolding("F16", "Q4_0")).toBeUndefined();
    expect(formatHolding("F16", "BF16")).toBeUndefined();
  });
});

describe.skipIf(!ready)("a model on packed weights", () => {
  const tokens = randomTokens(2, 24, 400);

  /** The model of a file as it is stored or in bfloat16, and in float32 at the same values. */
  async function both(name: string, weights: "q8" | "bf16", use: (packed: Model, wide: Model) => void): Promise<void> {
    const [packed, plain] = [
      await loadModel(fixture(name), { weights }),
      await loadModel(fixture(name), { weights: "f32" }),
    ];
    try {
      use(packed, plain);
    } finally {
      packed.dispose();
      plain.dispose();
    }
  }
  const gguf = "formats/llama-tiny.gguf";

  it("holds every matrix packed, at less than half of float32", () =>
    both(gguf, "q8", (packed, plain) => {
      const { blocks, embed, unembed } = packed.weights;
      const held = [embed, unembed, ...blocks.flatMap(({ qkv, o, mlpIn, mlpOut }) => [qkv, o, mlpIn!, mlpOut!])];
      expect(held.every((matrix) => matrix.packed !== undefined)).toBe(true);
      expect(packed.bytes / plain.bytes).toBeLessThan(0.5);
    }));

  it.each(["q8", "bf16"] as const)(
    "gives what float32 gives: %s, of 1 to many tokens, captured and op by op",
    (weights) =>
      both(gguf, weights, (packed, plain) => {
        const limit = weights === "q8" ? 1e-4 : 0.1;
        for (const rows of [
          tokens,
          [tokens[0]!.slice(0, 1)],
          [tokens[0]!.slice(0, 8)],
          [tokens[0]!.slice(0, 20)],
          [tokens[1]!.slice(0, 9)],
        ])
          for (const captured of [true, false]) {
            const names = ["blocks.1.attn.hook_z", "blocks.0.hook_resid_mid"];
            const [a, b] = [packed, plain].map((model) => forward(model, { tokens: rows }, { captured, names }));
            expect(maxDifference(a!.logits!, b!.logits!)).toBeLessThan(limit);
            for (const name of names)
              expect(maxDifference(a!.activations.get(name)!, b!.activations.get(name)!)).toBeLessThan(limit);
            a!.dispose();
            b!.dispose();
          }
      }),
  );

  it("decodes with hooks and interventions as float32 does", () =>
    both(gguf, "q8", (packed, plain) => {
      const half = { gain: tf.scalar(0.5), bias: tf.scalar(0) };
      const ways: ForwardOptions[] = [
        {},
        { interventions: new Map([["blocks.0.attn.hook_z", half]]) },
        { hooks: [["blocks.1.mlp.hook_post", (t) => tf.mul(t, 2)]] },
        { names: ["blocks.1.attn.hook_result", "blocks.0.hook_q_input"] },
      ];
      for (const options of ways) {
        const [a, b] = [packed, plain].map((model) => {
          const cache = new KvCache(model.config, { capacity: 32, rows: 2 });
          forward(model, { tokens, cache, logitsAt: "none" }).dispose();
          const step = forward(model, { tokens: [[3], [5]], cache }, options);
          cache.dispose();
          return step;
        });
        expect(maxDifference(a!.logits!, b!.logits!)).toBeLessThan(1e-4);
        for (const [name, t] of a!.activations) expect(maxDifference(t, b!.activations.get(name)!)).toBeLessThan(1e-4);
        a!.dispose();
        b!.dispose();
      }
      tf.dispose([half.gain, half.bias]);
    }));

  it.each([[tokens], [[tokens[0]!.slice(0, 6)]]])("has the gradients of float32, of many tokens and of few", (rows) =>
    both(gguf, "q8", (packed, plain) => {
      const metric = { name: "logit-diff", answers: rows.map(() => 3), wrong: rows.map(() => 5) } as const;
      const names = ["blocks.0.attn.hook_z", "blocks.1.hook_mlp_in"];
      const [a, b] = [packed, plain].map((model) => {
        const run = storeRun(model, { tokens: rows });
        const { gradient } = metricGradient(run.logits, metric);
        const found: number[][] = [];
        for (const { resid, gradients } of backward(run, gradient, { names })) {
          for (const t of [resid, ...gradients.values()]) found.push([...t.dataSync()]);
        }
        gradient.dispose();
        run.dispose();
        return found;
      });
      expect(b!.length).toBeGreaterThan(2);
      a!.forEach((gradient, i) => {
        expect(b![i]!.some((value) => value !== 0)).toBe(true);
        expect(relativeError(gradient, b![i]!)).toBeLessThan(1e-4);
      });
    }),
  );

  it("shows the parameters of float32", () =>
    both(gguf, "q8", (packed, plain) => {
      for (const name of parameterNames(plain)) {
        const [a, b] = [packed, plain].map((model) => parameter(model, name)) as [Tensor, Tensor];
        expect(maxDifference(a, b), name).toBe(0);
        tf.dispose([a, b]);
      }
    }));

  it("rounds what is multiplied where that is asked for, and changes nothing of numbers that are no codes", () => {
    const step = (model: Model, activations: "exact" | "8bit"): number[] => {
      const made = forward(model, { tokens: [tokens[0]!.slice(0, 3)] }, { activations });
      const logits = [...made.logits!.dataSync()];
      made.dispose();
      return logits;
    };
    return both(gguf, "q8", (packed, plain) => {
      const exact = step(packed, "exact");
      const error = relativeError(step(packed, "8bit"), exact);
      expect(error).toBeGreaterThan(1e-5);
      expect(error).toBeLessThan(0.05);
      expect(step(packed, "exact")).toEqual(exact);
      expect(step(plain, "8bit")).toEqual(step(plain, "exact"));
    });
  });

  it.each([
    ["families/gpt_neox", "q8", "f16"],
    ["families/mistral-window", "q8", "bf16"],
    ["families/mistral-window", "bf16", "bf16"],
    ["families-extra/mistral-sharded-bf16", "q8", "bf16"],
  ] as const)("of %s with --weights %s holds the file's own numbers in %s", (name, weights, format) =>
    both(name, weights, (packed, plain) => {
      for (const { qkv, o } of packed.weights.blocks)
        expect([qkv, o].map((matrix) => matrix.packed?.format)).toEqual([format, format]);
      for (const parameterName of parameterNames(plain)) {
        const [a, b] = [packed, plain].map((model) => parameter(model, parameterName)) as [Tensor, Tensor];
        expect(maxDifference(a, b), parameterName).toBe(0);
        tf.dispose([a, b]);
      }
    }),
  );
});
