import type { Tensor, Tensor2D } from "@tensorflow/tfjs";
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
import { bf16ToF32 } from "../formats/half.ts";

/** The rule by which 8-bit weights widen: w = (code - zero) * scale + min, with one scale (and min) for `block` consecutive inputs. */
interface CodeLayout {
  zero: number;
  block: number;
  hasMin: boolean;
}

/** The layout of a matrix that is not in float32. */
type NarrowLayout = CodeLayout | "bf16";

/**
 * A weight matrix [out, in] that a product transposes: as float32, or as bfloat16 or 8-bit codes that are widened where
 * they are used (XLA then fuses the widening into the product, so a narrow weight costs what its bytes cost).
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
    const tensor = tf.tensor2d(values, [...shape]);
    // Else the values wait in JavaScript for their first use, and a model is held twice while that goes on.
    if (hasNative()) idOf(tensor);
    return Matrix.dense(tensor);
  }

  /** A matrix kept in 8 bits; on a backend without 8-bit tensors it is widened at once. */
  static fromNarrow(rows: NarrowRows, shape: readonly [number, number]): Matrix {
    const blocks: [number, number] = [shape[0], shape[1] / rows.block];
    if (!hasNative()) return Matrix.fromValues(widen(rows), shape);
    const parts: Handle[] = [uploadBytes(rows.codes, shape), tf.tensor2d(rows.scale, blocks)];
    if (rows.min) parts.push(tf.tensor2d(rows.min, blocks));
    return new Matrix(shape, parts, { zero: rows.zero, block: rows.block, hasMin: rows.min !== undefined });
  }

  /**
   * A matrix kept in bfloat16; on a backend without such tensors it is widened at once, to the same values.
   * @param bits upper halves of float32 numbers in row order
   */
  static fromBf16(bits: Uint16Array, shape: readonly [number, number]): Matrix {
    const { buffer, byteOffset, byteLength } = bits;
    if (!hasNative()) return Matrix.fromValues(bf16ToF32(new Uint8Array(buffer, byteOffset, byteLength)), shape);
    return new Matrix(shape, [uploadBf16(bits, shape)], "bf16");
  }

  /** The same layout over other tensors: the inputs of a captured function. */
  over(parts: Handle[]): Matrix {
    return new Matrix(this.shape, parts, this.narrow);
  }

  /** The layout as a text: two matrices of one key can share a captured function. */
  get key(): string {
    const { narrow } = this;
    const how =
      typeof narrow === "object" ? `n${narrow.zero},${narrow.block},${narrow.hasMin ? 1 : 0}` : (narrow ?? "");
    return `${this.shape.join("x")}${how}`;
  }

  get bytes(): number {
    return this.parts.reduce((sum, part) => sum + handleBytes(part), 0);
  }

  /** x · Wᵀ. @param x [rows, in] @returns [rows, out] */
  apply(x: Tensor): Tensor {
    return tf.matMul(x as Tensor2D, this.widen() as Tensor2D, false, true);
  }

  /** The float32 form [out, in]; of a dense matrix the tensor itself. */
  widen(): Tensor {
    if (!this.narrow) return this.parts[0] as Tensor;
    const wide = widenRaw(this.parts[0] as RawTensor);
    if (this.narrow === "bf16") return wide;
    return this.#widenCodes(wide, this.parts[1] as Tensor, this.parts[2] as Tensor | undefined);
  }

  /** Rows in float32. @param index int32 [n] @returns [n, in] */
  rows(index: Tensor): Tensor {
    if (!this.narrow) return gatherRows(this.parts[0] as Tensor, index);
    const [codes, scale, min] = this.parts as [RawTensor, Tensor, Tensor | undefined];
    const rows = gatherRaw(codes, index);
    if (this.narrow === "bf16") return rows;
    return this.#widenCodes(rows, gatherRows(scale, index), min && gatherRows(min, index));
  }

  dispose(): void {
    for (const part of this.parts) part.dispose();
  }

  #widenCodes(codes: Tensor, scale: Tensor, min: Tensor | undefined): Tensor {
    const { zero, block } = this.narrow as CodeLayout;
    const [rows, width] = codes.shape as [number, number];
    const blocks = [rows, width / block, 1];
    const centred = zero === 0 ? codes : tf.sub(codes, zero);
    const scaled = tf.mul(tf.reshape(centred, [rows, width / block, block]), tf.reshape(scale, blocks));
    return tf.reshape(min ? tf.add(scaled, tf.reshape(min, blocks)) : scaled, [rows, width]);
  }
}
