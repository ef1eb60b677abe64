import type { Tensor, Tensor2D } from "@tensorflow/tfjs";
import type { Activations } from "../../common/words.ts";
import { type FormatName, formatOf, TILE } from "../../kernels/formats.ts";
import { hasKernels } from "../../kernels/kernels.ts";
import { PackedMatrix } from "../../kernels/packed-matrix.ts";
import {
  gatherRaw,
  gatherRows,
  type Handle,
  handleBytes,
  hasNative,
  idOf,
  type RawTensor,
  uploadBf16,
  uploadBytes,
  widenRaw,
} from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import type { NarrowRows } from "../formats/checkpoint.ts";
import { widen } from "../formats/gguf/quantisation.ts";
import { bf16ToF32, halvesOf } from "../formats/half.ts";

/**
 * Most rows of x that are multiplied with narrow weights as they are; for more, widening them first costs less. The kernels widen
 * every weight once for 8 rows, within registers.
 */
export const FEW_ROWS = { packed: 32, other: 8 } as const;

/** A way to hold a matrix in tensors. */
interface Form {
  /** Tells layouts apart that need captured functions of their own. */
  readonly key: string;
  /** The float32 form [out, in]. */
  widen(parts: readonly Handle[]): Tensor;
  /** Rows in float32. @param index int32 [n] @returns [n, in] */
  rows(parts: readonly Handle[], index: Tensor): Tensor;
  /** The kernels' matrix over the parts, where it is one. */
  packed?(parts: readonly Handle[]): PackedMatrix;
}

/** One float32 tensor [out, in]. */
const DENSE: Form = {
  key: "",
  widen: ([tensor]) => tensor as Tensor,
  rows: ([tensor], index) => gatherRows(tensor as Tensor, index),
};

/** One bfloat16 tensor [out, in]. */
const BF16: Form = {
  key: "bf16",
  widen: ([bits]) => widenRaw(bits as RawTensor),
  rows: ([bits], index) => gatherRaw(bits as RawTensor, index),
};

/** Codes [out, in], scales and, where there are any, minima [out, in / block]: (code - zero) * scale + minimum. */
function codes({ zero, block, min }: NarrowRows): Form {
  const widened = (wide: Tensor, scale: Tensor, minima: Tensor | undefined): Tensor => {
    const [rows, width] = wide.shape as [number, number];
    const blocks = [rows, width / block, 1];
    const centred = zero === 0 ? wide : tf.sub(wide, zero);
    const scaled = tf.mul(tf.reshape(centred, [rows, width / block, block]), tf.reshape(scale, blocks));
    return tf.reshape(minima ? tf.add(scaled, tf.reshape(minima, blocks)) : scaled, [rows, width]);
  };
  return {
    key: `n${zero},${block},${min ? 1 : 0}`,
    widen: ([codes, scale, minima]) =>
      widened(widenRaw(codes as RawTensor), scale as Tensor, minima as Tensor | undefined),
    rows: ([codes, scale, minima], index) =>
      widened(
        gatherRaw(codes as RawTensor, index),
        gatherRows(scale as Tensor, index),
        minima && gatherRows(minima as Tensor, index),
      ),
  };
}

/** Tiles of the kernels. */
function packed(matrix: PackedMatrix): Form {
  const over = ([tiles]: readonly Handle[]): PackedMatrix => matrix.over(tiles as RawTensor);
  return {
    key: matrix.format,
    widen: (parts) => over(parts).widen(),
    rows: (parts, index) => over(parts).rows(index),
    packed: over,
  };
}

/**
 * A weight matrix [out, in] that a product transposes: as float32, packed for the kernels, or, where there are none, as bfloat16 or
 * 8-bit codes that are widened where they are used (XLA then fuses the widening into the product).
 */
export class Matrix {
  readonly shape: readonly [number, number];
  /** The tensors behind it, in the order in which a captured function takes them. */
  readonly parts: readonly Handle[];
  readonly #form: Form;
  readonly #activations: Activations;

  private constructor(
    shape: readonly [number, number],
    parts: readonly Handle[],
    form: Form,
    activations: Activations = "exact",
  ) {
    this.shape = shape;
    this.parts = parts;
    this.#form = form;
    this.#activations = activations;
  }

  /** A float32 matrix. @param tensor [out, in], owned by the matrix from here on */
  static dense(tensor: Tensor): Matrix {
    return new Matrix(tensor.shape as [number, number], [tensor], DENSE);
  }

  /** The same matrix in float32. @param tensor what `widen` gave, owned by the new matrix */
  dense(tensor: Tensor): Matrix {
    return new Matrix(this.shape, [tensor], DENSE);
  }

  /** A float32 matrix from values in row order. */
  static fromValues(values: Float32Array, shape: readonly [number, number]): Matrix {
    const tensor = tf.tensor2d(values, [...shape]);
    // Else the values wait in JavaScript for their first use, and a model is held twice while that goes on.
    if (hasNative()) idOf(tensor);
    return Matrix.dense(tensor);
  }

  /** A matrix packed for the kernels. @param matrix owned by the new one from here on */
  static fromPacked(matrix: PackedMatrix): Matrix {
    return new Matrix(matrix.shape, [matrix.tiles], packed(matrix));
  }

  /**
   * A matrix kept as codes: packed where there are kernels, else in 8 bits; on a backend without such tensors it is widened at once.
   * @param format that holds it, of packed ones; default the one for codes of any type
   */
  static fromNarrow(rows: NarrowRows, shape: readonly [number, number], format: FormatName = "mixed"): Matrix {
    if (!hasNative()) return Matrix.fromValues(widen(rows), shape);
    const { scale, min, block } = rows;
    const blocks: [number, number] = [shape[0], shape[1] / block];
    const codesPart = uploadBytes(rows.codes, shape);
    const [scales, minima] = [scale, min].map((values) => values && tf.tensor2d(values, blocks));
    const parts: Handle[] = [codesPart, scales!, ...(minima ? [minima] : [])];
    // The kernels take whole tiles of codes.
    if (!hasKernels() || shape[1] % TILE.inputs !== 0) return new Matrix(shape, parts, codes(rows));
    try {
      const lowest = minima ?? (formatOf(format).minima ? tf.zeros(blocks) : undefined);
      if (lowest !== minima) parts.push(lowest!);
      const coded = { codes: codesPart, scales: scales!, minima: lowest, zero: rows.zero };
      return Matrix.fromPacked(PackedMatrix.fromCodes(format, coded, shape));
    } finally {
      for (const part of parts) part.dispose();
    }
  }

  /**
   * A matrix kept in bfloat16: packed where there are kernels; on a backend without such tensors it is widened at once, to the same
   * values.
   * @param bits upper halves of float32 numbers in row order
   */
  static fromBf16(bits: Uint16Array, shape: readonly [number, number]): Matrix {
    const bytes = new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength);
    if (!hasNative()) return Matrix.fromValues(bf16ToF32(bytes), shape);
    return hasKernels()
      ? Matrix.fromPacked(PackedMatrix.fromRows("bf16", bytes, shape))
      : new Matrix(shape, [uploadBf16(halvesOf(bytes), shape)], BF16);
  }

  /**
   * The same layout over other tensors: the inputs of a captured function.
   * @param activations of `apply`; default this matrix's own
   */
  over(parts: readonly Handle[], activations: Activations = this.#activations): Matrix {
    return new Matrix(this.shape, parts, this.#form, activations);
  }

  /** The layout as a text: two matrices of one key can share a captured function. */
  get key(): string {
    return `${this.shape.join("x")}${this.#form.key}`;
  }

  /** False of one that is held in float32. */
  get narrow(): boolean {
    return this.#form !== DENSE;
  }

  /** Says that widening it first pays for products with so many rows. */
  widensFor(rows: number): boolean {
    return this.narrow && rows > (this.packed ? FEW_ROWS.packed : FEW_ROWS.other);
  }

  /** The form that the kernels multiply with; undefined of one in another form. It shares the tensors. */
  get packed(): PackedMatrix | undefined {
    return this.#form.packed?.(this.parts);
  }

  get bytes(): number {
    return this.parts.reduce((sum, part) => sum + handleBytes(part), 0);
  }

  /** x · Wᵀ; a gradient reaches x. @param x [rows, in] @returns [rows, out] */
  apply(x: Tensor): Tensor {
    const { packed } = this;
    if (packed && x.shape[0]! <= FEW_ROWS.packed) return applyPacked(packed, x, this.#activations);
    return tf.matMul(x as Tensor2D, this.widen() as Tensor2D, false, true);
  }

  /** The float32 form [out, in]; of a dense matrix the tensor itself. */
  widen(): Tensor {
    return this.#form.widen(this.parts);
  }

  /** Rows in float32. @param index int32 [n] @returns [n, in] */
  rows(index: Tensor): Tensor {
    return this.#form.rows(this.parts, index);
  }

  dispose(): void {
    for (const part of this.parts) part.dispose();
  }
}

/** A product of the kernels with the gradient that tfjs does not know of. */
function applyPacked(matrix: PackedMatrix, x: Tensor, activations: Activations): Tensor {
  return tf.customGrad((...args: (Tensor | ((saved: Tensor[]) => void))[]) => ({
    value: matrix.apply(args[0] as Tensor, activations),
    gradFunc: (dy: Tensor) => tf.matMul(dy as Tensor2D, matrix.widen() as Tensor2D),
  }))(x);
}
