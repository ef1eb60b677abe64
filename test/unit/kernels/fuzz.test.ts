import type { Tensor } from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { HeadscopeError } from "../../../backend/common/errors.ts";
import { Random } from "../../../backend/common/random.ts";
import { CACHE_KINDS } from "../../../backend/common/words.ts";
import { attend } from "../../../backend/kernels/attend.ts";
import type { BlocksCall } from "../../../backend/kernels/blocks.ts";
import type { Coding } from "../../../backend/kernels/coding.ts";
import { FORMATS, TILE, tileBytes } from "../../../backend/kernels/formats.ts";
import { PackedMatrix } from "../../../backend/kernels/packed-matrix.ts";
import { placesOf } from "../../../backend/kernels/places.ts";
import { antidiagonalSums, lineSums } from "../../../backend/kernels/prompt.ts";
import type { Model } from "../../../backend/models/model.ts";
import type { BlockWeights } from "../../../backend/models/weights/block-parts.ts";
import { Matrix } from "../../../backend/models/weights/matrix.ts";
import { type Handle, RawTensor, uploadBytes } from "../../../backend/runtime/ops.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { plainBlock, randomTokensOf, throughKernel, withBiases } from "../../helpers/kernels/blocks.ts";
import { kernelsHere, relativeError } from "../../helpers/kernels/here.ts";
import { PagedRows, withChannels } from "../../helpers/kernels/paged.ts";
import { plainAntidiagonals, plainLines } from "../../helpers/kernels/prompt.ts";
import { attentionOf, type HeldRows } from "../../helpers/kernels/reference-attention.ts";
import { randomModel, smallConfig } from "../../helpers/models.ts";

const { ready } = await kernelsHere();

/** Random calls: `npm run test:kernels` makes 20,000. */
const CALLS = Number(process.env["HEADSCOPE_FUZZ"] ?? 300);

/** Draws a call's parts; now and then one that does not belong there. */
class Draw {
  readonly #random: Random;
  readonly #owned: { dispose(): void }[] = [];
  /** A part was drawn that may make the call wrong. */
  odd = false;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  whole(least: number, most: number): number {
    return this.#random.integer(least, most + 1);
  }

  of<T>(list: readonly T[]): T {
    return list[this.whole(0, list.length - 1)]!;
  }

  normals(count: number): Float32Array {
    const out = new Float32Array(count);
    this.#random.fillNormal(out);
    return out;
  }

  /** A tensor that tfjs does not free, until `dispose`. */
  own<T extends Handle>(handle: T): T {
    if (handle instanceof RawTensor) this.#owned.push(handle);
    return handle;
  }

  /** Pages, until `dispose`. */
  held(rows: PagedRows): PagedRows {
    this.#owned.push({ dispose: () => rows.release() });
    return rows;
  }

  /** A model, until `dispose`. */
  model(model: Model): Model {
    this.#owned.push(model);
    return model;
  }

  dispose(): void {
    for (const handle of this.#owned) handle.dispose();
  }

  /** The value, or one in thirty times another. */
  perhaps<T>(value: T, other: () => T): T {
    if (this.whole(0, 29) > 0) return value;
    this.odd = true;
    return other();
  }

  /** A size, or another one. */
  size(value: number): number {
    return this.perhaps(value, () => this.of([0, 1, value + 1, value * 2, Math.max(0, value - 1)]));
  }

  /** A table, or one with another number. */
  numbers(table: Tensor): Tensor {
    return this.perhaps(table, () => {
      const all = table.dataSync().slice();
      const changed = this.whole(0, Math.max(0, all.length - 1));
      all[changed] = this.of([-1, 2 ** 31 - 1, -(2 ** 31), (all[changed] ?? 0) + 1, 1e6]);
      return tf.tensor(all, table.shape, "int32");
    });
  }

  coin(): boolean {
    return this.whole(0, 1) === 1;
  }

  /** A size, or a smaller one. */
  fewer(value: number): number {
    return this.perhaps(value, () => value - 1);
  }

  /** A tensor, or one of another rank or type. */
  like(tensor: Tensor): Tensor {
    return this.tensor(tensor.dataSync() as Float32Array, tensor.shape);
  }

  /** Numbers of a shape, or one of another rank or type. */
  tensor(values: Float32Array, shape: number[]): Tensor {
    const fill = (to: number[], dtype: "float32" | "int32" = "float32") => tf.zeros(to, dtype);
    return this.perhaps(tf.tensor(values, shape), () =>
      this.of([
        () => fill([...shape, 1]),
        () => fill(shape.slice(1)),
        () => fill(shape, "int32"),
        () => fill(shape.map((n) => n + 1)),
        () => fill(shape.map(() => 0)),
      ])(),
    );
  }
}

/** A call: what it gives, and what float64 gives where all its parts belong there. */
interface Outcome {
  got: Tensor;
  want: () => ArrayLike<number>;
}

function product(draw: Draw): Outcome {
  const [rows, width, count] = [draw.whole(1, 70), draw.whole(1, 6) * 32, draw.whole(0, 9)];
  const values = draw.normals(rows * width);
  const x = draw.normals(count * width);
  const matrix = PackedMatrix.fromRows("f32", draw.tensor(values, [rows, width]), [draw.size(rows), draw.size(width)]);
  const tiles = draw.perhaps(draw.own(matrix.tiles), () => {
    const shape = draw.of([[0, 0, 0], [8], [...matrix.tiles.shape, 1], [1, 1, tileBytes(draw.of(FORMATS))]]);
    return draw.own(uploadBytes(new Uint8Array(shape.reduce((a, b) => a * b, 1)), shape));
  });
  const got = matrix.over(tiles).apply(draw.tensor(x, [count, width]));
  const want = () =>
    Float64Array.from({ length: count * rows }, (_, at) => {
      const [v, r] = [Math.floor(at / rows), at % rows];
      let sum = 0;
      for (let i = 0; i < width; i++) sum += x[v * width + i]! * values[r * width + i]!;
      return sum;
    });
  return { got, want };
}

/** Packed weights of random bytes are some numbers or other: unpacked, by row and multiplied they are the same. */
function unpacked(draw: Draw): Outcome {
  const format = draw.of(FORMATS);
  const [tiles, blocks] = [draw.whole(1, 4), draw.whole(1, 4)];
  const [rows, width] = [tiles * TILE.rows - draw.whole(0, 15), blocks * TILE.inputs];
  const dummy = PackedMatrix.fromRows("f32", tf.zeros([1, 1]), [1, 1]);
  draw.own(dummy.tiles);
  // Numbers of sixteen bits and more are small ones: no byte is an exponent's highest.
  const bytes = Uint8Array.from({ length: tiles * blocks * tileBytes(format) }, () => draw.whole(0, 63));
  const shape = [draw.size(tiles), blocks, tileBytes(format)];
  const held = draw.odd ? new Uint8Array(shape.reduce((a, b) => a * b, 1)) : bytes;
  const matrix = Object.assign(dummy.over(draw.own(uploadBytes(held, shape))), {
    format: format.name,
    shape: [rows, width],
  });
  const index = draw.perhaps(draw.whole(0, rows - 1), () => draw.of([-1, rows, 2 ** 31 - 1]));
  const got = matrix.rows(tf.tensor1d([index], "int32"));
  return {
    got,
    want: () =>
      matrix
        .widen()
        .dataSync()
        .slice(index * width, (index + 1) * width),
  };
}

function attention(draw: Draw): Outcome {
  const kind = draw.of(CACHE_KINDS);
  const [sequences, groups, group] = [draw.whole(1, 3), draw.whole(1, 3), draw.whole(1, 4)];
  const tokens = draw.whole(1, draw.of([8, 8, 8, 80]));
  const [heads, rows] = [groups * group, draw.whole(1, 200)];
  const d = draw.whole(1, 100);
  const [q, keys, values] = [sequences * tokens * heads, rows, rows].map((n) => draw.normals(n * d)) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const positions = Array.from({ length: sequences }, () => Array.from({ length: tokens }, () => draw.whole(0, 150)));
  const places = Array.from({ length: sequences }, () =>
    Array.from({ length: groups }, (): HeldRows => {
      const spans = Array.from({ length: draw.whole(0, 6) }, () => {
        const count = draw.whole(0, rows);
        return { row: draw.whole(0, rows - count), position: draw.whole(0, 150), count };
      });
      return { spans, window: draw.whole(0, 1) * draw.whole(1, 90), sink: draw.whole(0, 4) };
    }),
  );
  const coding = draw.coin() && draw.coin() ? codingOf(draw) : undefined;
  const pageRows = coding ? 8 * draw.whole(1, 16) : draw.whole(1, 100);
  const some = Array.from({ length: d }, (_, c) => c).filter(() => draw.coin());
  const channels = !coding && some.length > 0 && draw.coin() ? some : undefined;
  const at = draw.held(new PagedRows(kind, d, { keys, values, pageRows, channels }));
  const codes = coding && at.encode(coding);
  const tables = placesOf([places.map((row) => row.map((place) => at.places(place)))]);
  const cap = draw.of([undefined, 3, draw.perhaps(1, () => -1)]);
  const sinks = draw.of([undefined, draw.normals(heads)]);
  const [down, across] = [tokens, Math.max(...positions.flat()) + 1].map((n) => Math.ceil(n / 64)) as [number, number];
  const blocks = draw.of([
    undefined,
    Array.from({ length: down }, () => Array.from({ length: across }, () => draw.coin())),
  ]);
  const read = blocks && tf.slice(tf.tensor3d([blocks], undefined, "bool"), [0, 0, 0], [1, down, draw.fewer(across)]);
  const got = attend({
    q: draw.tensor(q, [sequences * tokens, heads, d]),
    positions: tf.tensor2d(positions, undefined, "int32"),
    layer: draw.perhaps(tf.scalar(0, "int32"), () => tf.scalar(draw.of([-1, 1, 2 ** 31 - 1]), "int32")),
    lists: draw.numbers(tables.lists),
    spans: draw.numbers(tables.spans),
    scale: 0.1,
    cap,
    sinks: sinks && draw.tensor(sinks, [heads]),
    blocks: read,
  });
  const want = () => {
    if (kind !== "f32" && !codes) return got.dataSync(); // its rows are not these numbers
    return attentionOf({
      ...{ q, keys: withChannels(keys, d, channels), values, ...codes },
      positions,
      places,
      heads,
      d,
      scale: 0.1,
      cap,
      sinks: sinks && [...sinks],
      blocks: blocks && [blocks],
    }).z;
  };
  return { got, want };
}

/** A way to put pages into codes; now and then one that can't be. */
function codingOf(draw: Draw): Coding {
  const bits = draw.of([2, 3, 4] as const);
  const levels = Float32Array.from({ length: 2 ** bits }, (_, i) => i / 4 - 1);
  return {
    codes: draw.of([
      { book: "integers", bits: draw.of([2, 3, 4, 6, 8] as const) },
      { book: "floats", format: draw.of(["E4M3", "E5M2", "E3M2", "E2M3", "E2M1"] as const) },
      { book: "levels", bits, keys: levels, values: levels },
    ]),
    keyGroup: draw.perhaps<number>(8, () => draw.of([0, 3, -8, 2 ** 31])),
    valueGroup: draw.perhaps(draw.of([16, 32, 5]), () => draw.of([0, -1])),
    outliers: { keys: draw.of([0, 0, 1]), values: draw.perhaps(0, () => draw.of([-1, 600])) },
    firstRows: draw.of([0, 0, 1]),
    halfScales: draw.coin(),
  };
}

/** A block of any shape against the engine's own. */
function block(draw: Draw): Outcome {
  const [groups, group, d_head] = [draw.whole(1, 3), draw.whole(1, 3), draw.whole(1, 24)];
  const config = smallConfig({
    n_layers: 1, n_heads: groups * group, n_key_value_heads: groups, d_head, rotary_dim: 2 * draw.whole(0, Math.floor(d_head / 2)),
    d_model: draw.whole(1, 70), d_mlp: draw.whole(1, 70), gated_mlp: draw.coin(), attn_only: draw.coin() && draw.coin(),
    parallel_attn_mlp: draw.coin(), normalization_type: draw.of(["RMS", "LN", null]), norm_placement: draw.of(["pre", "post", "both"]),
    ...(draw.coin() ? { qk_norm: draw.of(["head", "all"] as const) } : {}),
    act_fn: draw.of(["silu", "gelu", "gelu_new", "quick_gelu", "relu"]), attn_scale: 0.1, eps: 1e-3,
  }); // biome-ignore format: a table
  const model = draw.model(randomModel(config, draw.whole(1, 1000)));
  const [rows, length] = [draw.whole(1, 3), draw.whole(1, draw.of([8, 8, 8, 70]))];
  const tokens = randomTokensOf(config, rows, length, draw.whole(1, 1000));
  const own = draw.coin() ? withBiases(model, 0) : model.weights.blocks[0]!;
  const weights = Object.entries(own).map(([field, held]) => [
    field,
    held instanceof Matrix
      ? Matrix.dense(draw.like(held.widen()))
      : held && "w" in held
        ? { ...held, w: draw.like(held.w) }
        : held && draw.like(held as Tensor),
  ]);
  const change = (call: BlocksCall): BlocksCall => ({
    ...call,
    x: draw.like(call.x),
    positions: draw.numbers(call.positions),
    layers: draw.numbers(call.layers),
    lists: draw.numbers(call.lists),
    spans: draw.numbers(call.spans),
    slots: draw.numbers(call.slots),
  });
  const got = throughKernel(model, 0, tokens, Object.fromEntries(weights) as BlockWeights, { steps: [length], change });
  return { got, want: () => plainBlock(model, 0, tokens, own).dataSync() };
}

/** Sums of a prompt's attention against those of plain tensors. */
function promptSums(draw: Draw): Outcome {
  const [kvHeads, group, keys] = [draw.whole(1, 3), draw.whole(1, 3), draw.whole(1, 200)];
  const [tokens, width, each] = [draw.whole(1, keys), draw.whole(1, 70), draw.whole(1, 4)];
  const parts = {
    queries: tf.tensor(draw.normals(kvHeads * group * tokens * width), [kvHeads * group, tokens, width]),
    keys: tf.tensor(draw.normals(kvHeads * keys * width), [kvHeads, keys, width]),
    scale: width ** -0.5,
  };
  const changed = { ...parts, queries: draw.like(parts.queries), keys: draw.like(parts.keys) };
  const cap = draw.of([undefined, 3]);
  if (draw.coin()) {
    const { byKey, byDistance } = lineSums({ ...changed, cap: draw.perhaps(cap, () => -1) });
    return { got: tf.stack([byKey, byDistance]), want: () => plainLines(parts, cap).dataSync() };
  }
  const stride = draw.of([1, 4, 16]);
  const got = antidiagonalSums({ ...changed, stride: draw.perhaps(stride, () => draw.of([0, 65])), side: draw.perhaps(stride * each, () => 67) }); // biome-ignore format: one line
  return { got, want: () => plainAntidiagonals(parts, { stride, side: stride * each }).dataSync() };
}

describe.skipIf(!ready)("random calls of the kernels", () => {
  it.each([
    ["products", product],
    ["unpacked rows", unpacked],
    ["attention", attention],
    ["blocks", block],
    ["sums of a prompt", promptSums],
  ] as const)("are right or refused, never a crash (%s)", (_, make) => {
    let refused = 0;
    for (let seed = 0; seed < Math.ceil(CALLS / 5); seed++) {
      const draw = new Draw(seed);
      tf.engine().startScope();
      try {
        const { got, want } = make(draw);
        if (!draw.odd) expect(relativeError(got.dataSync(), want()), `seed ${seed}`).toBeLessThan(5e-6);
      } catch (error) {
        if (!(error instanceof HeadscopeError) || error.kind !== "usage" || !draw.odd) throw error;
        refused++;
      } finally {
        tf.engine().endScope();
        draw.dispose();
      }
    }
    expect(refused).toBeGreaterThan(0);
  });
});
