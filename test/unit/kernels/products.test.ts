import type { Tensor } from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { FORMATS, type FormatName, formatHolding, formatOf, tileBytes } from "../../../backend/kernels/formats.ts";
import { multiplyRows, PackedMatrix } from "../../../backend/kernels/packed-matrix.ts";
import {
  decodeFloats,
  decodeNarrow,
  QUANTISATIONS,
  quantisationByName,
} from "../../../backend/models/formats/gguf/quantisation.ts";
import { capture } from "../../../backend/runtime/capture.ts";
import { type RawTensor, uploadBytes } from "../../../backend/runtime/ops.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { refused } from "../../helpers/errors.ts";
import { kernelsHere, largest, relativeError } from "../../helpers/kernels/here.ts";

const { ready } = await kernelsHere();

/** A packed matrix and the numbers that it stands for. */
interface Sample {
  matrix: PackedMatrix;
  values: Float64Array;
}

/** Random weights in a format, at the numbers that it holds. */
function sample(name: FormatName, [rows, width]: [number, number], seed: number): Sample {
  const format = formatOf(name);
  const random = new Random(seed);
  const normal = (count: number, scale: number) => Float32Array.from({ length: count }, () => scale * random.normal());
  const { block } = format;
  if (block === undefined) {
    const type = quantisationByName(format.holds[0]!)!;
    const floats = new Uint8Array(normal(rows * width, 1).buffer);
    // Halves of float32 numbers, upper for bfloat16; those of half precision are made small enough to be numbers.
    const bytes = type.bytes === 4 ? floats : floats.filter((_, i) => i % 4 >= 2);
    if (name === "f16") for (let i = 1; i < bytes.length; i += 2) bytes[i]! &= 0xbb;
    return {
      matrix: PackedMatrix.fromRows(name, bytes, [rows, width]),
      values: Float64Array.from(decodeFloats(type, bytes)),
    };
  }
  const most = format.bits === 4 ? 16 : 256;
  const zero = format.bits === 4 ? (format.zero ?? 0) : format.minima ? 0 : 128;
  const range = format.bits === 8 && zero === 0 ? 128 : most;
  const codes = Uint8Array.from({ length: rows * width }, () => random.integer(0, range));
  const blocks = (rows * width) / block;
  const held = (v: Float32Array) => (format.halfScales ? v.map((x) => Math.fround(Math.round(x * 1024) / 1024)) : v);
  const scales = held(normal(blocks, 0.1));
  const minima = format.minima ? held(normal(blocks, 0.5)) : undefined;
  const values = Float64Array.from(codes, (c, i) => {
    const b = Math.floor(i / block);
    return (c - zero) * scales[b]! + (minima?.[b] ?? 0);
  });
  const shape = [rows, width / block] as [number, number];
  const parts = {
    codes: uploadBytes(codes, [rows, width]),
    scales: tf.tensor2d(scales, shape),
    minima: minima && tf.tensor2d(minima, shape),
    zero,
  };
  const matrix = PackedMatrix.fromCodes(name, parts, [rows, width]);
  parts.codes.dispose();
  tf.dispose([parts.scales, ...(parts.minima ? [parts.minima] : [])]);
  return { matrix, values };
}

/** x · Wᵀ in float64. */
function product(x: ArrayLike<number>, w: Float64Array, width: number): Float64Array {
  const [vectors, rows] = [x.length / width, w.length / width];
  return Float64Array.from({ length: vectors * rows }, (_, at) => {
    const [v, r] = [Math.floor(at / rows), at % rows];
    let sum = 0;
    for (let i = 0; i < width; i++) sum += x[v * width + i]! * w[r * width + i]!;
    return sum;
  });
}

function vectors(count: number, width: number, seed: number): { x: Float32Array; tensor: Tensor } {
  const random = new Random(seed);
  const x = Float32Array.from({ length: count * width }, () => random.normal());
  return { x, tensor: tf.tensor2d(x, [count, width]) };
}

describe.skipIf(!ready)("a product on packed weights", () => {
  it.each(FORMATS.map(({ name }) => name))("in %s is that of float64, of 1 to 8 vectors and more", (name) => {
    const sizes: [number, number][] = [
      [16, 32],
      [50, 96],
      [1, 64],
      [200, 576],
    ];
    if (formatOf(name).block === undefined) sizes.push([7, 5], [33, 70]);
    for (const [rows, width] of sizes) {
      const { matrix, values } = sample(name, [rows, width], rows + width);
      for (const count of [1, 2, 3, 4, 5, 7, 8, 11]) {
        const { x, tensor } = vectors(count, width, count);
        const y = matrix.apply(tensor);
        expect(y.shape).toEqual([count, rows]);
        expect(relativeError(y.dataSync(), product(x, values, width))).toBeLessThan(1e-6);
        tf.dispose([tensor, y]);
      }
      matrix.dispose();
    }
  });

  it.each(FORMATS.filter((format) => "block" in format).map(({ name }) => name))(
    "in %s with 8-bit activations is near it, and exact where they are whole numbers to 127",
    (name) => {
      const [rows, width] = [70, 160];
      const { matrix, values } = sample(name, [rows, width], 5);
      for (const count of [1, 3, 8]) {
        const { x, tensor } = vectors(count, width, 3);
        const near = matrix.apply(tensor, "8bit");
        const error = relativeError(near.dataSync(), product(x, values, width));
        expect(error).toBeLessThan(0.02);
        expect(error).toBeGreaterThan(1e-5); // something was rounded
        const whole = x.map((v, i) => (i % 16 === 0 ? 127 : Math.round(30 * v)));
        const input = tf.tensor2d(whole, [count, width]);
        const y = matrix.apply(input, "8bit");
        expect(relativeError(y.dataSync(), product(whole, values, width))).toBeLessThan(1e-6);
        tf.dispose([tensor, near, input, y]);
      }
      matrix.dispose();
    },
  );

  it("has the same bits for every number of vectors in a call", () => {
    const { matrix } = sample("q4_1", [40, 96], 2);
    const { tensor } = vectors(8, 96, 1);
    const all = matrix.apply(tensor).dataSync();
    for (const count of [1, 2, 3, 6]) {
      const some = matrix.apply(tf.slice(tensor, [0, 0], [count, 96])).dataSync();
      expect(some).toEqual(all.slice(0, count * 40));
    }
  });

  it("of float32 rows as they lie is that of float64, the same for a vector alone and among others", () => {
    for (const [rows, width] of [
      [1, 1],
      [16, 32],
      [37, 45],
      [70, 576],
      [515, 100],
    ] as const) {
      const random = new Random(rows);
      const [w, x] = [rows * width, 9 * width].map((count) =>
        Float32Array.from({ length: count }, () => random.normal()),
      );
      const matrix = tf.tensor2d(w!, [rows, width]);
      const got = multiplyRows(tf.tensor2d(x!, [9, width]), matrix).dataSync();
      const want = Float64Array.from({ length: 9 * rows }, (_, at) => {
        const [v, r] = [Math.floor(at / rows), at % rows];
        let sum = 0;
        for (let i = 0; i < width; i++) sum += x![v * width + i]! * w![r * width + i]!;
        return sum;
      });
      expect(relativeError(got, want)).toBeLessThan(1e-6);
      for (const count of [1, 2, 3, 5]) {
        const few = multiplyRows(tf.tensor2d(x!.subarray(0, count * width), [count, width]), matrix).dataSync();
        expect([...few]).toEqual([...got.subarray(0, count * rows)]);
      }
    }
  });

  it("of rows as they lie is refused for vectors of another width", () => {
    expect(() => multiplyRows(tf.zeros([1, 9]), tf.zeros([4, 8]))).toThrow(refused("usage"));
    expect(() => multiplyRows(tf.zeros([1, 8]), tf.zeros([4, 8], "int32"))).toThrow(refused("usage"));
  });

  it("runs inside a captured function, between ops that XLA compiles", () => {
    const { matrix, values } = sample("q4_0", [96, 96], 4);
    const { x, tensor } = vectors(2, 96, 9);
    const doubled = capture((t) => [tf.mul(t as Tensor, 2)], [tensor], { name: "doubled", xla: true });
    const twice = (t: Tensor): Tensor => doubled.run([t])[0]!;
    const f = capture(
      (t, w) => [twice(matrix.over(w as RawTensor).apply(twice(t as Tensor)))],
      [tensor, matrix.tiles],
      { name: "between", shapes: [[-1, 96], undefined] },
    );
    const want = product(x, values, 96).map((v) => 4 * v);
    expect(relativeError(f.run([tensor, matrix.tiles])[0]!.dataSync(), want)).toBeLessThan(1e-6);
    const one = f.run([tf.slice(tensor, [0, 0], [1, 96]), matrix.tiles])[0]!;
    expect(relativeError(one.dataSync(), want.slice(0, 96))).toBeLessThan(1e-6);
    f.dispose();
    doubled.dispose();
  });

  it("leaves no tensor behind", () => {
    const before = tf.memory().numTensors;
    const { matrix } = sample("q8_1", [20, 64], 1);
    const { tensor } = vectors(1, 64, 1);
    tf.dispose([tensor, matrix.apply(tensor), matrix.widen()]);
    matrix.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe.skipIf(!ready)("a packed matrix", () => {
  it.each(FORMATS.map(({ name }) => name))("in %s gives the numbers back, all and by row", (name) => {
    const [rows, width] = [37, 96];
    const { matrix, values } = sample(name, [rows, width], 8);
    expect(matrix.tiles.shape).toEqual([3, 3, tileBytes(formatOf(name))]);
    expect(relativeError(matrix.widen().dataSync(), values)).toBeLessThan(1e-7);
    const some = matrix.rows(tf.tensor1d([36, 0, 17, 0], "int32")).dataSync();
    const want = [36, 0, 17, 0].flatMap((r) => [...values.subarray(r * width, (r + 1) * width)]);
    expect(largest(some.map((v, i) => v - want[i]!)) / largest(values)).toBeLessThan(1e-7);
    matrix.dispose();
  });

  it.each(FORMATS.flatMap((f) => ("rowsOf" in f && "block" in f ? [f.rowsOf] : [])))(
    "takes a file's blocks of %s as they are, to the byte",
    (type) => {
      const [rows, width] = [32, 64];
      const { bytes } = quantisationByName(type)!;
      const random = new Random(7);
      const file = Uint8Array.from({ length: ((rows * width) / 32) * bytes }, () => random.integer(0, 256));
      // A block begins with a scale, then perhaps a minimum, in half precision: no infinities.
      for (let at = 0; at < file.length; at += bytes)
        for (const part of type === "Q4_1" ? [1, 3] : [1]) file[at + part]! &= 0xbb;
      const matrix = PackedMatrix.fromRows(formatHolding(type)!, file, [rows, width]);
      expect(matrix.bytes).toBe(file.length);
      const want = decodeFloats(quantisationByName(type)!, file);
      expect(relativeError(matrix.widen().dataSync(), want)).toBeLessThan(1e-7);
      matrix.dispose();
    },
  );

  it("has a format for every type of weights that headscope reads, with room for its codes", () => {
    for (const { name, narrow } of QUANTISATIONS) {
      const format = formatOf(formatHolding(name)!);
      expect(format.block).toBe(narrow?.block);
      expect(format.minima ?? false).toBe(narrow?.hasMin ?? false);
      if (format.bits === 4) expect(format.zero ?? 0).toBe(narrow!.zero);
    }
  });

  it("is packed from the codes of a file as well", () => {
    const type = quantisationByName("Q4_1")!;
    const file = Uint8Array.from({ length: 20 * 6 }, (_, i) => (i % 20 === 1 || i % 20 === 3 ? 40 : (i * 37) % 256));
    const { codes, scale, min, zero } = decodeNarrow(type, file)!;
    const parts = {
      codes: uploadBytes(codes, [3, 64]),
      scales: tf.tensor2d(scale, [3, 2]),
      minima: tf.tensor2d(min!, [3, 2]),
      zero,
    };
    const [a, b] = [PackedMatrix.fromCodes("q4_1", parts, [3, 64]), PackedMatrix.fromRows("q4_1", file, [3, 64])];
    expect(a.widen().dataSync()).toEqual(b.widen().dataSync());
  });
});

describe.skipIf(!ready)("a call that cannot be", () => {
  const usage = refused("usage");
  it("is refused by what it says: sizes, ranks, types, rows and formats", () => {
    const { matrix } = sample("q8_0", [20, 64], 1);
    const x = tf.zeros([1, 64]);
    expect(matrix.apply(x).shape).toEqual([1, 20]);
    expect(matrix.apply(tf.zeros([0, 64])).shape).toEqual([0, 20]);
    expect(() => matrix.apply(tf.zeros([1, 96]))).toThrow(usage);
    expect(() => matrix.apply(tf.zeros([64]))).toThrow(usage);
    expect(() => matrix.apply(tf.zeros([1, 64], "int32"))).toThrow(usage);
    expect(() => matrix.apply(matrix.tiles as unknown as Tensor)).toThrow(usage);
    expect(() => matrix.over(uploadBytes(new Uint8Array(8), [8])).apply(x)).toThrow(usage);
    expect(() => matrix.over(uploadBytes(new Uint8Array(2 * 2 * 320), [2, 2, 320])).apply(x)).toThrow(usage);
    expect(() => matrix.rows(tf.tensor1d([20], "int32"))).toThrow(usage);
    expect(() => matrix.rows(tf.tensor1d([-1], "int32"))).toThrow(usage);
  });

  it("is refused where weights do not fit their shape or format", () => {
    const bytes = new Uint8Array(34 * 4);
    expect(() => PackedMatrix.fromRows("q8_0", bytes, [2, 96])).toThrow(usage);
    expect(() => PackedMatrix.fromRows("q8_0", bytes, [2, 63])).toThrow(usage);
    expect(() => PackedMatrix.fromRows("q6_k", bytes, [2, 64])).toThrow(usage);
    expect(() => PackedMatrix.fromRows("q8_0", bytes, [0, 64])).toThrow(usage);
    expect(() => PackedMatrix.fromRows("q8_0", bytes, [2 ** 31, 64])).toThrow(usage);
    expect(() => PackedMatrix.fromRows("q8_0", bytes, [1.5, 64])).toThrow(usage);
    const codes = uploadBytes(new Uint8Array(64), [2, 32]);
    const scales = tf.tensor2d([1, 2], [2, 1]);
    const pack = (change: object, format: FormatName = "q8_0") =>
      PackedMatrix.fromCodes(format, { codes, scales, zero: 128, ...change }, [2, 32]);
    expect(pack({}).shape).toEqual([2, 32]);
    expect(() => pack({ minima: scales })).toThrow(usage);
    expect(() => pack({}, "q8_1")).toThrow(usage);
    expect(() => pack({}, "f32")).toThrow(usage);
    expect(() => pack({ zero: 256 })).toThrow(usage);
    expect(() => pack({ zero: 0 }, "q4_0")).toThrow(usage);
    expect(() => pack({ scales: tf.tensor2d([1, 2], [1, 2]) })).toThrow(usage);
    expect(() => pack({ scales: tf.tensor2d([1.0001, 2], [2, 1]) })).toThrow(usage); // half precision would change it
  });

  it("is refused while a function is captured, too", () => {
    const { matrix } = sample("f32", [4, 8], 1);
    const bad = (t: unknown, w: unknown) => [matrix.over(w as RawTensor).apply(t as Tensor)];
    expect(() => capture(bad, [tf.zeros([1, 9]), matrix.tiles], { name: "bad" })).toThrow(usage);
  });
});
