import type { Tensor } from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { type GradientInput, gradient } from "../../../../backend/circuits/gradients/gradient.ts";
import { metricGradient } from "../../../../backend/circuits/metrics/measure.ts";
import { backward } from "../../../../backend/models/backward/backward.ts";
import { storeRun } from "../../../../backend/models/backward/stored-run.ts";
import { f32ToBf16 } from "../../../../backend/models/formats/half.ts";
import { Model } from "../../../../backend/models/model.ts";
import { Matrix } from "../../../../backend/models/weights/matrix.ts";
import { type ParameterPlace, parameterLayout, weightsOver } from "../../../../backend/models/weights/trainable.ts";
import { partTensors, weightsOf } from "../../../../backend/models/weights/weights.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { derivativeAlong, innerProduct, normals, relativeError } from "../../../helpers/oracles/differences.ts";

await initBackend();
const metric = { name: "logit-diff", answers: [0], wrong: [2] } as const;

/** Expects gradients at hook points to be derivatives by differences. */
function expectDerivatives(model: Model, input: GradientInput, names: readonly string[], step?: number): void {
  const { gradients } = gradient(model, input, metric, names);
  for (const name of names) {
    const direction = normals(gradients.get(name).shape);
    const measured = { model, input, metric, ...(step ? { step } : {}) };
    const expected = derivativeAlong(measured, name, direction);
    expect(relativeError(expected, innerProduct(gradients.get(name), direction)), name).toBeLessThan(5e-3);
    direction.dispose();
  }
  gradients.dispose();
}

describe("gradients of runs", () => {
  it("padded on the left, with a key mask, are those of the row alone", () => {
    const model = randomModel(smallConfig({ n_layers: 2 }));
    const [row] = randomTokens(1, 6, 96) as [number[]];
    const padded = {
      tokens: [[0, 0, ...row]],
      keyMask: [[0, 0, ...row.map(() => 1)]],
      positions: [[0, 0, ...row.map((_, t) => t)]],
    };
    const names = ["hook_embed", "blocks.0.attn.hook_k", "blocks.1.attn.hook_z"];
    const [alone, behind] = [{ tokens: [row] }, padded].map((input) => gradient(model, input, metric, names).gradients);
    for (const name of names) {
      const t = behind!.get(name);
      const begin = t.shape.map((_, axis) => (axis === 1 ? 2 : 0));
      const [own, before] = [tf.slice(t, begin, alone!.get(name).shape), tf.slice(t, [0, 0], [1, 2])];
      const largest = Math.max(1, ...tf.abs(alone!.get(name)).dataSync());
      expect(maxDifference(own, alone!.get(name)) / largest, name).toBeLessThan(2e-5);
      expect(innerProduct(before, before), name).toBe(0);
      tf.dispose([own, before]);
    }
    alone!.dispose();
    behind!.dispose();
    model.dispose();
  });

  it("with streaming heads reach only the keys of their windows", () => {
    const model = randomModel(smallConfig({ n_layers: 2 }));
    const window = { sink: 1, recent: 3 };
    const windows = [
      [window, undefined],
      [undefined, window],
    ];
    const names = ["hook_embed", "blocks.0.attn.hook_k", "blocks.1.attn.hook_pattern", "blocks.0.hook_v_input"];
    expectDerivatives(model, { tokens: randomTokens(1, 11, 96), windows }, names);
    model.dispose();
  });

  it("of more tokens than a chunk are those of the whole", () => {
    const config = { n_layers: 2, window_size: 200, attn_types: ["local", "global"] as ("local" | "global")[] };
    const model = randomModel(smallConfig(config));
    const names = ["hook_embed", "blocks.0.attn.hook_v", "blocks.1.attn.hook_z", "blocks.0.hook_mlp_out"];
    const tokens = randomTokens(1, 520, 96, 3);
    const { gradients } = gradient(model, { tokens }, metric, names);
    for (const name of names) {
      const direction = normals(gradients.get(name).shape);
      const expected = derivativeInParts(model, tokens, name, direction);
      expect(relativeError(expected, innerProduct(gradients.get(name), direction)), name).toBeLessThan(5e-3);
      direction.dispose();
    }
    gradients.dispose();
    model.dispose();
  });

  it("of a model that reads vectors and has layers before its output go through both", () => {
    const config = smallConfig({
      n_layers: 2, d_input: 5, d_vocab_out: 3, readout_hidden: [20], tie_word_embeddings: false,
    }); // biome-ignore format: a table
    const places = parameterLayout(config);
    const drawn = ({ shape, kind, offset }: ParameterPlace): Tensor => {
      const scale = kind === "matrix" ? 1.5 / Math.sqrt(shape[1]!) : 0.5;
      return tf.tidy(() => tf.mul(normals([...shape], offset), scale));
    };
    const parts = { ref: "reader", family: "llama", digest: `sha256:${"1".repeat(64)}`, config };
    const model = new Model({ ...parts, weights: weightsOver(config, places, drawn) });
    const inputs = normals([2, 7, 5], 9);
    expectDerivatives(model, { inputs }, ["hook_embed", "blocks.1.attn.hook_z", "ln_final.hook_normalized"], 1e-3);
    inputs.dispose();
    model.dispose();
  });

  it("without a final norm and with exact GELU are derivatives too", () => {
    const model = randomModel(
      smallConfig({ n_layers: 2, final_norm: false, act_fn: "gelu", gated_mlp: false, normalization_type: "LN" }),
    );
    expectDerivatives(model, { tokens: randomTokens(1, 6, 96) }, ["hook_embed", "blocks.0.mlp.hook_pre"]);
    model.dispose();
  });

  it("with rotations of their own in local layers turn back as they turned", () => {
    const model = randomModel(
      smallConfig({
        n_layers: 2, window_size: 4, attn_types: ["local", "global"], rotary_local: { base: 100 }, qk_norm: "head",
      }), // biome-ignore format: a table
    );
    const names = ["blocks.0.attn.hook_q", "blocks.0.attn.hook_rot_q", "blocks.1.attn.hook_k", "hook_embed"];
    expectDerivatives(model, { tokens: randomTokens(2, 9, 96) }, names);
    model.dispose();
  });
});

/** As `derivativeAlong`, of a run whose hooks see their activations in parts. */
function derivativeInParts(model: Model, tokens: number[][], name: string, direction: Tensor): number {
  const parts = (activation: Tensor, starts: readonly number[]): Tensor => {
    const begin = direction.shape.map((_, axis) => (axis === 1 ? starts[0]! : 0));
    return tf.slice(direction, begin, activation.shape);
  };
  const step = 3e-3;
  const at = (steps: number): number => {
    const run = storeRun(
      model,
      { tokens },
      { hooks: [[name, (x, _, starts) => tf.add(x, tf.mul(parts(x, starts), steps * step))]] },
    );
    const { values, gradient: unused } = metricGradient(run.logits, metric);
    unused.dispose();
    run.dispose();
    return values[0]!;
  };
  return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step);
}

/** The model with other matrices; the rest is copied. */
function remade(model: Model, make: (matrix: Matrix) => Matrix): Model {
  const parts = [...partTensors(model.weights)].map(
    ([name, t]) => [name, t instanceof Matrix ? make(t) : tf.clone(t)] as const,
  );
  return new Model({ ...model, weights: weightsOf(model.config, new Map(parts)) });
}

const NARROW: { name: string; make: (matrix: Matrix) => Matrix }[] = [
  {
    name: "bfloat16",
    make: (matrix) => Matrix.fromBf16(f32ToBf16(matrix.widen().dataSync() as Float32Array), matrix.shape),
  },
  {
    name: "8 bits",
    make: (matrix) => {
      const values = matrix.widen().dataSync() as Float32Array;
      const block = 16;
      const scale = Float32Array.from({ length: values.length / block }, (_, b) => {
        const part = values.subarray(b * block, (b + 1) * block);
        return Math.max(...part.map(Math.abs)) / 127;
      });
      const codes = Uint8Array.from(values, (v, i) => 128 + Math.round(v / scale[Math.floor(i / block)]!));
      return Matrix.fromNarrow({ codes, zero: 128, scale, block }, matrix.shape);
    },
  },
];

describe.each(NARROW)("gradients through weights in $name", ({ make }) => {
  it.each([1, 3])("are those through the same weights in float32 (%i rows)", (rows) => {
    const random = randomModel(smallConfig({ n_layers: 2 }));
    const narrow = remade(random, make);
    const wide = remade(narrow, (matrix) => matrix.dense(tf.tidy(() => matrix.widen())));
    const tokens = randomTokens(rows, 8, 96);
    const names = ["hook_embed", "blocks.0.attn.hook_z", "blocks.1.hook_k_input", "blocks.1.mlp.hook_post"];
    for (const model of [narrow, wide]) storeRun(model, { tokens }).dispose(); // rotations are kept from here on
    const before = tf.memory().numTensors;
    const [a, b] = [narrow, wide].map((model) => gradient(model, { tokens }, metric, names).gradients);
    for (const name of names) expect(maxDifference(a!.get(name), b!.get(name)), name).toBeLessThan(1e-4);
    a!.dispose();
    b!.dispose();
    const [c, d] = [narrow, wide].map((model) => inputsOfLayer0(model, tokens));
    expect(maxDifference(c!, d!)).toBeLessThan(1e-4);
    tf.dispose([c!, d!]);
    expect(tf.memory().numTensors).toBe(before);
    for (const model of [random, narrow, wide]) model.dispose();
  });
});

/** Gradients at the inputs of the first layer's heads, which the caller disposes. */
function inputsOfLayer0(model: Model, tokens: number[][]): Tensor {
  const run = storeRun(model, { tokens });
  const { gradient: start } = metricGradient(run.logits, metric);
  let found: Tensor | undefined;
  for (const { layer, inputs } of backward(run, start, { inputs: true }))
    if (layer === 0) found = tf.keep(tf.clone(inputs!.heads));
  start.dispose();
  run.dispose();
  return found!;
}
