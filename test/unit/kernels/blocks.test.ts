import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { readRows } from "../../../backend/kernels/attend.ts";
import { type BlockShape, type BlocksCall, KernelBlocks, type KernelWeights } from "../../../backend/kernels/blocks.ts";
import { type FormatName, formatOf } from "../../../backend/kernels/formats.ts";
import { useThreads } from "../../../backend/kernels/kernels.ts";
import { PackedMatrix } from "../../../backend/kernels/packed-matrix.ts";
import { Page } from "../../../backend/kernels/pages.ts";
import { type HeadPlaces, placesOf, slotsOf, spansOf } from "../../../backend/kernels/places.ts";
import { KvCache } from "../../../backend/models/cache/kv-cache.ts";
import type { ModelConfig } from "../../../backend/models/config.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import { kernelBlocks } from "../../../backend/models/forward/kernel-blocks.ts";
import type { ForwardOptions } from "../../../backend/models/forward/types.ts";
import { loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";
import type { BlockWeights } from "../../../backend/models/weights/block-parts.ts";
import { Matrix } from "../../../backend/models/weights/matrix.ts";
import { uploadBytes } from "../../../backend/runtime/ops.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { refused } from "../../helpers/errors.ts";
import { fixture } from "../../helpers/fixtures.ts";
import {
  plainBlock,
  plainPattern,
  randomTokensOf,
  throughKernel,
  type Way,
  withBiases,
} from "../../helpers/kernels/blocks.ts";
import { kernelsHere, relativeError } from "../../helpers/kernels/here.ts";
import { randomModel, smallConfig } from "../../helpers/models.ts";

const { ready, threads } = await kernelsHere();

const ROWS = 2;
/** Tokens of a row in each call. */
const STEPS = [8, 1, 3, 1, 2];
const LENGTH = STEPS.reduce((a, b) => a + b, 0);

const within = (least: number, most: number) => (x: number) => x >= least && x <= most;

const numbers = (tensor: { dataSync(): ArrayLike<number> }): Float32Array => Float32Array.from(tensor.dataSync());

/** The same block over packed matrices. */
function packedBlock(block: BlockWeights, pack: (matrix: Matrix, i: number) => PackedMatrix): BlockWeights {
  let i = 0;
  const entries = Object.entries(block).map(([field, held]) => [
    field,
    held instanceof Matrix ? Matrix.fromPacked(pack(held, i++)) : held,
  ]);
  return Object.fromEntries(entries) as BlockWeights;
}

/** A matrix's numbers as rows of a file. */
function rowsAs(format: "f32" | "bf16", matrix: Matrix): Uint8Array {
  const bytes = new Uint8Array(numbers(matrix.widen()).buffer);
  return format === "f32" ? bytes : bytes.filter((_, i) => i % 4 >= 2);
}

/** Seeded codes of about the size of a small model's weights. */
function coded(format: FormatName, [rows, width]: readonly [number, number], seed: number): PackedMatrix {
  const random = new Random(seed);
  const { bits, block = 32, zero = 128, minima } = formatOf(format);
  const most = 2 ** bits;
  const blocks: [number, number] = [rows, width / block];
  const scale = 4 / most / Math.sqrt(width);
  const parts = {
    codes: uploadBytes(
      Uint8Array.from({ length: rows * width }, () => random.integer(0, most)),
      [rows, width],
    ),
    scales: tf.fill(blocks, halfOf(scale)),
    minima: minima && tf.fill(blocks, 0),
    zero,
  };
  try {
    return PackedMatrix.fromCodes(format, { ...parts, minima: parts.minima || undefined }, [rows, width]);
  } finally {
    parts.codes.dispose();
  }
}

/** A number near this one that half precision holds. */
const halfOf = (x: number): number => 2 ** Math.round(Math.log2(x));

/** Largest difference of the kernel's block from the engine's, relative to the largest number. */
function difference(model: Model, layer: number, weights: BlockWeights, way: Way = { steps: STEPS }): number {
  return tf.tidy(() => {
    const length = way.steps.reduce((a, b) => a + b, 0);
    const tokens = randomTokensOf(model.config, ROWS, length);
    const got = numbers(throughKernel(model, layer, tokens, weights, way));
    return relativeError(got, numbers(plainBlock(model, layer, tokens, weights)));
  });
}

const CONFIGS: Record<string, Partial<ModelConfig>> = {
  "RMS norms": {},
  "layer norms": { normalization_type: "LN" },
  "no norms": { normalization_type: null },
  "norms behind": { norm_placement: "post" },
  "norms before and behind": { norm_placement: "both", normalization_type: "LN" },
  "norms of each head": { qk_norm: "head" },
  "norms over all heads": { qk_norm: "all" },
  "attention beside the MLP": { parallel_attn_mlp: true, normalization_type: "LN" },
  "attention beside the MLP, norms behind": { parallel_attn_mlp: true, norm_placement: "both" },
  "attention only": { attn_only: true },
  "attention only, said to be parallel": { attn_only: true, parallel_attn_mlp: true },
  "a soft cap": { attn_scores_soft_cap: 2, attn_scale: 0.7 },
  "windows in some layers": { window_size: 6, attn_types: ["global", "local", "global"], rotary_local: { base: 100 } },
  "a part rotated": { rotary_dim: 6 },
  "nothing rotated": { rotary_dim: 0 },
  "learned positions": { positional_embedding_type: "standard" },
  "one head, of an odd width": { n_heads: 1, n_key_value_heads: 1, d_head: 5, rotary_dim: 4 },
  "odd widths": { d_model: 37, d_mlp: 53, d_head: 22, rotary_dim: 22 },
  ...Object.fromEntries(
    (["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu"] as const).flatMap((act_fn) =>
      [true, false].map((gated_mlp) => [`${act_fn}, gated: ${gated_mlp}`, { act_fn, gated_mlp }]),
    ),
  ),
}; // biome-ignore format: a table

describe.skipIf(!ready)("a block as one kernel is the engine's block", () => {
  it.each(Object.entries(CONFIGS))("with %s, without biases and with all of them", (_, changes) => {
    const model = randomModel(smallConfig(changes));
    model.weights.blocks.forEach((weights, layer) => {
      expect(difference(model, layer, weights)).toBeLessThan(1e-5);
      expect(difference(model, layer, withBiases(model, layer))).toBeLessThan(1e-5);
    });
    model.dispose();
  });

  const folders = ["families", "families-extra"].flatMap((name) =>
    readdirSync(fixture(name)).map((checkpoint) => join(fixture(name), checkpoint)),
  );
  it.each(folders.map((path) => ({ name: basename(path), path })))(
    "of $name, as its checkpoint has it",
    async ({ path }) => {
      const model = await loadModel(path);
      model.weights.blocks.forEach((weights, layer) => {
        expect(difference(model, layer, weights)).toBeLessThan(1e-5);
      });
      model.dispose();
    },
  );

  it("on packed matrices, and over caches in every kind as far as those hold numbers", () => {
    const model = randomModel(smallConfig({ d_model: 64, d_mlp: 96, d_head: 32, rotary_dim: 32, attn_scale: 0.02 }));
    const own = withBiases(model, 1);
    for (const format of ["f32", "bf16"] as const) {
      const weights = packedBlock(own, (matrix) => PackedMatrix.fromRows(format, rowsAs(format, matrix), matrix.shape));
      // The engine's own products read the same packed weights.
      expect(difference(model, 1, weights)).toBeLessThan(1e-5);
    }
    for (const format of ["q8_0", "q4_0", "mixed"] as const) {
      const weights = packedBlock(own, (matrix, i) => coded(format, matrix.shape, i));
      expect(difference(model, 1, weights)).toBeLessThan(1e-5);
      expect(difference(model, 1, weights, { steps: STEPS, activations: "8bit" })).toSatisfy(within(1e-4, 0.05));
    }
    for (const [kind, least, most] of [
      ["f16", 1e-6, 1e-3],
      ["q8", 1e-5, 0.02],
      ["q4", 1e-3, 0.3],
    ] as const)
      expect(difference(model, 1, own, { steps: STEPS, kind })).toSatisfy(within(least, most));
    model.dispose();
  });

  it("for more tokens of a row than the products take at a time", () => {
    for (const changes of [{}, { window_size: 40 }, { attn_scores_soft_cap: 2 }]) {
      const model = randomModel(smallConfig(changes));
      const own = withBiases(model, 0);
      for (const steps of [[9], [LENGTH], [70, 1, 30]]) expect(difference(model, 0, own, { steps })).toBeLessThan(1e-5);
      model.dispose();
    }
  });

  it("and gives its pattern on request, with the same stream to the bit", () => {
    for (const changes of [{}, { window_size: 6 }, { attn_scores_soft_cap: 2, n_heads: 6, n_key_value_heads: 2 }]) {
      const model = randomModel(smallConfig(changes));
      tf.tidy(() => {
        const tokens = randomTokensOf(model.config, ROWS, LENGTH);
        const weights = withBiases(model, 0);
        const wanted = plainPattern(model, 0, tokens, weights); // [rows, heads, length, length]
        const heads = model.config.n_heads;
        // Of more than 8 tokens the kernel attends by squares.
        for (const steps of [STEPS, [9, LENGTH - 9]]) {
          let first = 0;
          const onPattern = (pattern: Tensor): void => {
            const count = pattern.shape[0]! / ROWS;
            const want = tf.slice(wanted, [0, 0, first, 0], [ROWS, heads, count, first + count]);
            const got = tf.transpose(tf.reshape(pattern, [ROWS, count, heads, first + count]), [0, 2, 1, 3]);
            expect(numbers(tf.max(tf.abs(tf.sub(got, want))))[0]).toBeLessThan(1e-5);
            first += count;
          };
          const looked = throughKernel(model, 0, tokens, weights, { steps, onPattern });
          expect(first).toBe(LENGTH);
          expect([...numbers(looked)]).toEqual([...numbers(throughKernel(model, 0, tokens, weights, { steps }))]);
        }
      });
      model.dispose();
    }
  });

  it("for a token whose pattern alone is looked at, which is the plain forward's", () => {
    const model = randomModel(smallConfig());
    const tokens = Array.from({ length: 12 }, (_, i) => (7 * i) % model.config.d_vocab);
    const names = model.weights.blocks.map((_, layer) => `blocks.${layer}.attn.hook_pattern`);
    const run = (options: ForwardOptions) => {
      const cache = new KvCache(model.config, { capacity: 16 });
      forward(model, { tokens: [tokens], cache, logitsAt: "none" }).dispose();
      const result = forward(model, { tokens: [[5]], cache, logitsAt: "last" }, options);
      const patterns = names.map((name) => result.activations.get(name)).filter((each) => each !== undefined);
      const read = { logits: [...numbers(result.logits!)], patterns: patterns.map(numbers), shape: patterns[0]?.shape };
      result.dispose();
      cache.dispose();
      return read;
    };
    const { logits } = run({}); // the model keeps its tables of rotations from here on
    const before = tf.memory().numTensors;
    const [looked, plain] = [run({ names }), run({ names, captured: false })];
    // A block that is taken apart adds up in another order.
    expect(looked.logits).toEqual(logits);
    expect(looked.shape).toEqual([1, model.config.n_heads, 1, 13]);
    looked.patterns.forEach((pattern, layer) => {
      expect(relativeError(pattern, plain.patterns[layer]!)).toBeLessThan(1e-5);
    });
    expect(tf.memory().numTensors).toBe(before);
    model.dispose();
  });

  it("and several together as one after the other, to the bit", () => {
    for (const changes of [
      {},
      {
        window_size: 6,
        attn_types: ["local", "global", "local", "local"] as ("local" | "global")[],
        rotary_local: { base: 100 },
      },
      { normalization_type: "LN" as const, gated_mlp: false, parallel_attn_mlp: true },
    ]) {
      const model = randomModel(smallConfig({ n_layers: 4, ...changes }));
      const run = (names: readonly string[]) => {
        const cache = new KvCache(model.config, { capacity: 16 });
        forward(model, { tokens: [[1, 2, 3, 4, 5, 6, 7, 8, 9]], cache, logitsAt: "none" }).dispose();
        const layers: number[] = [];
        const onLayer = (layer: number): number => layers.push(layer);
        const steps = [[3], [1, 4], [5]].map((tokens) => {
          const result = forward(model, { tokens: [tokens], cache, logitsAt: "last" }, { names, onLayer });
          const read = [result.logits!, ...names.map((name) => result.activations.get(name)!)].map((t) => [
            ...numbers(t),
          ]);
          result.dispose();
          return read;
        });
        cache.dispose();
        expect(layers).toEqual([...[0, 1, 2, 3], ...[0, 1, 2, 3], ...[0, 1, 2, 3]]);
        return steps;
      };
      const before = [0, 1, 2, 3].map((layer) => `blocks.${layer}.hook_resid_pre`);
      const patterns = [0, 1, 2, 3].map((layer) => `blocks.${layer}.attn.hook_pattern`);
      const together = run([]).map(([logits]) => logits);
      expect(run(before).map(([logits]) => logits)).toEqual(together);
      const looked = run(patterns);
      expect(looked.map(([logits]) => logits)).toEqual(together);
      expect(run([...before, ...patterns]).map((step) => step.slice(5))).toEqual(looked.map((step) => step.slice(1)));
      expect(run([patterns[2]!]).map((step) => step[1])).toEqual(looked.map((step) => step[3]));
      model.dispose();
    }
  });

  it("with the same bits for any number of threads, and for a token alone and among others", () => {
    const model = randomModel(smallConfig({ d_model: 256, d_mlp: 1000, d_head: 64, rotary_dim: 64 }));
    const tokens = randomTokensOf(model.config, ROWS, LENGTH);
    const bits = (steps: readonly number[]) =>
      tf.tidy(() => Buffer.from(numbers(throughKernel(model, 0, tokens, withBiases(model, 0), { steps })).buffer));
    const runs = [1, 2, 5].map((count) => {
      useThreads(count);
      return bits(STEPS);
    });
    useThreads(threads);
    for (const run of [...runs.slice(1), bits(new Array(LENGTH).fill(1))]) expect(run.equals(runs[0]!)).toBe(true);
    tokens.x.dispose();
    model.dispose();
  });
});

describe.skipIf(!ready)("a block's kernel", () => {
  const model = ready ? randomModel(smallConfig()) : undefined!;
  afterAll(() => model?.dispose());
  const { n_key_value_heads: G, d_head, d_model } = smallConfig();
  const shape = {
    heads: 6, kvHeads: 2, width: 8, rotary: 8, mlp: 64, norm: "RMS", act: "silu", gated: true, parallel: false,
    normsAll: false, eps: 1e-5, scale: 0.3,
  } as const satisfies BlockShape; // biome-ignore format: one object

  /** A call that fits: two rows of one token. */
  function call(page: Page): BlocksCall {
    const head: HeadPlaces = { spans: [{ page, row: 0, position: 0, count: 2 }] };
    return {
      x: tf.ones([2, d_model]),
      rotation: { cos: tf.ones([2, 1, 8]), sin: tf.zeros([2, 1, 8]) },
      positions: tf.tensor2d([[0], [1]], [2, 1], "int32"),
      layers: tf.tensor1d([0], "int32"),
      ...placesOf([
        [
          [head, head],
          [head, head],
        ],
      ]),
      slots: slotsOf([[[{ page, row: 0, token: 0, count: 2 }], [{ page, row: 2, token: 0, count: 2 }]]], 2),
    };
  }
  const weights = (): KernelWeights => ({
    ...{ ln1: tf.ones([d_model]), qkv: tf.ones([(6 + 2 * 2) * 8, d_model]), o: tf.ones([d_model, 6 * 8]) },
    ...{ mlpIn: tf.ones([128, d_model]), mlpOut: tf.ones([d_model, 64]) },
  });
  const WRONG: Record<
    string,
    (page: Page) => { call?: Partial<BlocksCall>; shape?: Partial<BlockShape>; weights?: KernelWeights }
  > = {
    "a stream of another rank": () => ({ call: { x: tf.ones([2, d_model, 1]) } }),
    "a stream of another width": () => ({ call: { x: tf.ones([2, d_model + 1]) } }),
    "a rotation of fewer tokens": () => ({ call: { rotation: { cos: tf.ones([1, 1, 8]), sin: tf.ones([1, 1, 8]) } } }),
    "no rotation where it rotates": () => ({ call: { rotation: undefined } }),
    "positions of more tokens": () => ({ call: { positions: tf.zeros([2, 2], "int32") } }),
    "a layer that is not there": () => ({ call: { layers: tf.tensor1d([1], "int32") } }),
    "a layer of another type": () => ({ call: { layers: tf.tensor1d([0]) } }),
    "layers of more blocks": () => ({ call: { layers: tf.zeros([2], "int32") } }),
    "slots of fewer heads": (page) => ({ call: { slots: slotsOf([[[{ page, row: 0, token: 0, count: 2 }]]], 2) } }),
    "a slot behind the page": (page) => ({
      call: { slots: slotsOf([[[{ page, row: 3, token: 0, count: 2 }], []]], 2) },
    }),
    "a span behind the page": (page) => {
      const head: HeadPlaces = { spans: [{ page, row: 3, position: 0, count: 2 }] };
      return {
        call: placesOf([
          [
            [head, head],
            [head, head],
          ],
        ]),
      };
    },
    "a matrix of another shape": () => ({ weights: { ...weights(), o: tf.ones([d_model, 6 * 8 + 1]) } }),
    "a packed matrix of another shape": () => ({
      weights: { ...weights(), o: PackedMatrix.fromRows("f32", tf.ones([4 * d_model]), [4, d_model]) },
    }),
    "no matrix where it needs one": () => ({ weights: { ...weights(), qkv: undefined } as unknown as KernelWeights }),
    "a factor of another width": () => ({ weights: { ...weights(), ln1: tf.ones([d_model - 1]) } }),
    "heads that no KV heads share": () => ({ shape: { kvHeads: 4 } }),
    "heads that are too wide": () => ({ shape: { width: 2000 } }),
    "a rotated part that is odd": () => ({ shape: { rotary: 3 } }),
    "an MLP of a negative width": () => ({ shape: { mlp: -1 } }),
    "no number for eps": () => ({ shape: { eps: Number.NaN } }),
    "no number for the scale": () => ({ shape: { scale: Number.POSITIVE_INFINITY } }),
  };

  it("takes a call that fits, and an empty one", () => {
    const page = Page.make("f32", d_head, 4);
    tf.tidy(() => {
      const block = new KernelBlocks(shape, [{ weights: weights() }]);
      expect(numbers(block.run(call(page))).every(Number.isFinite)).toBe(true);
      const none = { x: tf.zeros([0, d_model]), positions: tf.zeros([0, 1], "int32"), ...placesOf([[]]) };
      const rotation = { cos: tf.zeros([0, 1, 8]), sin: tf.zeros([0, 1, 8]) };
      const lists = tf.zeros([1, 0, G, 5], "int32");
      const empty = { ...call(page), ...none, lists, rotation, slots: tf.zeros([1, 0, G, 2], "int32") };
      expect(block.run(empty).shape).toEqual([0, d_model]);
    });
    page.release();
  });

  it.each(Object.entries(WRONG))("refuses %s", (_, change) => {
    const page = Page.make("f32", d_head, 4);
    tf.tidy(() => {
      const { call: wrong, shape: other, weights: instead } = change(page);
      const block = new KernelBlocks({ ...shape, ...other }, [{ weights: instead ?? weights() }]);
      expect(() => block.run({ ...call(page), ...wrong })).toThrow(refused("usage"));
    });
    page.release();
  });

  it("writes no key of a call that it refuses", () => {
    const page = Page.make("f32", d_head, 4);
    tf.tidy(() => {
      const head: HeadPlaces = { spans: [{ page, row: 3, position: 0, count: 2 }] };
      const wrong = {
        ...call(page),
        ...placesOf([
          [
            [head, head],
            [head, head],
          ],
        ]),
      };
      expect(() => new KernelBlocks(shape, [{ weights: weights() }]).run(wrong)).toThrow(refused("usage"));
      const { keys } = readRows(spansOf([{ page, row: 0, position: 0, count: 4 }]));
      expect(numbers(keys).every((x) => x === 0)).toBe(true);
    });
    page.release();
  });

  it("leaves a block to the plain path that has a weight which it does not know, or heads too wide for it", () => {
    const [block] = model.weights.blocks;
    expect(kernelBlocks([block!], model.config, 0)).toBeDefined();
    expect(kernelBlocks([{ ...block!, ...{ mlpScale: block!.ln1!.w } }], model.config, 0)).toBeUndefined();
    expect(kernelBlocks([{ ...block! }], { ...model.config, d_head: 2048 }, 0)).toBeUndefined();
  });
});
