import type { Tensor, Tensor2D } from "@tensorflow/tfjs";
import { gatherBytes, gatherRows, type Handle, hasNative, RawTensor, uploadBytes, widenBytes } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import type { NarrowRows } from "./formats/checkpoint.ts";
import { widen } from "./formats/quantisation.ts";

/** How narrow weights widen: w = (code - zero) * scale + min, with one scale (and min) for `block` consecutive inputs. */
interface NarrowLayout {
  zero: number;
  block: number;
  hasMin: boolean;
}

/**
 * A weight matrix [out, in] that a product transposes: as float32, or as 8-bit codes that are widened where they are used
 * (XLA then fuses the widening into the product, so a narrow weight costs what its bytes cost).
 */
export class Matrix {
  readonly shape: readonly [number, number];
  /** The tensors behind it, in the order in which a captured function takes them. */
  readonly parts: Handle[];
  readonly narrow: NarrowLayout | undefined;

  private constructor(shape: readonly [number, number], parts: Handle[], narrow?: NarrowLayout) {
    this.shape = shape;
    this.parts = parts;
    this.narrow = narrow;
  }

  /** A float32 matrix. @param tensor [out, in], owned by the matrix from here on */
  static dense(tensor: Tensor): Matrix {
    return new Matrix(tensor.shape as [number, number], [tensor]);
  }

  /** The same matrix in float32. @param tensor what `widen` gave, owned by the new matrix */
  dense(tensor: Tensor): Matrix {
    return new Matrix(this.shape, [tensor]);
  }

  /** A float32 matrix from values in row order. */
  static fromValues(values: Float32Array, shape: readonly [number, number]): Matrix {
    return Matrix.dense(tf.tensor2d(values, [...shape]));
  }

  /** A matrix kept in 8 bits; on a backend without 8-bit tensors it is widened at once. */
  static fromNarrow(rows: NarrowRows, shape: readonly [number, number]): Matrix {
    const blocks: [number, number] = [shape[0], shape[1] / rows.block];
    if (!hasNative()) return Matrix.fromValues(widen(rows), shape);
    const parts: Handle[] = [uploadBytes(rows.codes, shape), tf.tensor2d(rows.scale, blocks)];
    if (rows.min) parts.push(tf.tensor2d(rows.min, blocks));
    return new Matrix(shape, parts, { zero: rows.zero, block: rows.block, hasMin: rows.min !== undefined });
  }

  /** The same layout over other tensors: the inputs of a captured function. */
  over(parts: Handle[]): Matrix {
    return new Matrix(this.shape, parts, this.narrow);
  }

  /** What tells layouts apart: two matrices of one key can share a captured function. */
  get key(): string {
    const { narrow } = this;
    return `${this.shape.join("x")}${narrow ? `n${narrow.zero},${narrow.block},${narrow.hasMin ? 1 : 0}` : ""}`;
  }

  get bytes(): number {
    return this.parts.reduce(
      (sum, p) => sum + p.shape.reduce((a, b) => a * b, 1) * (p instanceof RawTensor ? 1 : 4),
      0,
    );
  }

  /** x · Wᵀ. @param x [rows, in] @returns [rows, out] */
  apply(x: Tensor): Tensor {
    return tf.matMul(x as Tensor2D, this.widen() as Tensor2D, false, true);
  }

  /** The float32 form [out, in]; of a dense matrix the tensor itself. */
  widen(): Tensor {
    if (!this.narrow) return this.parts[0] as Tensor;
    return this.#widenCodes(
      widenBytes(this.parts[0] as RawTensor),
      this.parts[1] as Tensor,
      this.parts[2] as Tensor | undefined,
    );
  }

  /** Rows in float32. @param index int32 [n] @returns [n, in] */
  rows(index: Tensor): Tensor {
    if (!this.narrow) return gatherRows(this.parts[0] as Tensor, index);
    const [codes, scale, min] = this.parts as [RawTensor, Tensor, Tensor | undefined];
    return this.#widenCodes(gatherBytes(codes, index), gatherRows(scale, index), min && gatherRows(min, index));
  }

  dispose(): void {
    for (const part of this.parts) part.dispose();
  }

  #widenCodes(codes: Tensor, scale: Tensor, min: Tensor | undefined): Tensor {
    const { zero, block } = this.narrow!;
    const [rows, width] = codes.shape as [number, number];
    const blocks = [rows, width / block, 1];
    const centred = zero === 0 ? codes : tf.sub(codes, zero);
    const scaled = tf.mul(tf.reshape(centred, [rows, width / block, block]), tf.reshape(scale, blocks));
    return tf.reshape(min ? tf.add(scaled, tf.reshape(min, blocks)) : scaled, [rows, width]);
  }
}
