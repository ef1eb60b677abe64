import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../common/errors.ts";
import type { Activations } from "../common/words.ts";
import { type Handle, RawTensor, uploadBytes } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import { type FormatName, formatCode, formatOf, ROW_ORDER } from "./formats.ts";
import { kernelTensor, runKernel } from "./op.ts";

/** Weights as small codes: (code - zero) · scale + minimum. */
export interface CodedWeights {
  /** uint8 [out, in]. */
  readonly codes: RawTensor;
  /** [out, in / block]. */
  readonly scales: Tensor;
  /** The same shape; where the format has minima. */
  readonly minima?: Tensor | undefined;
  readonly zero: number;
}

/** The shape [out, in] of a weight matrix. */
type Shape = readonly [number, number];

/** A weight matrix [out, in] in the form that the kernels multiply with. */
export class PackedMatrix {
  readonly format: FormatName;
  readonly shape: Shape;
  /** uint8 [tiles of 16 rows, blocks of 32 inputs, bytes of a tile]. */
  readonly tiles: RawTensor;

  private constructor(format: FormatName, shape: Shape, tiles: RawTensor) {
    this.format = format;
    this.shape = shape;
    this.tiles = tiles;
  }

  /**
   * Packs rows as they lie in a file of the type that the format takes (`rowsOf`): numbers or blocks.
   * @param rows the file's bytes, or a tensor of as many
   * @throws HeadscopeError (usage) where their number does not fit the shape, or the format is packed from codes
   */
  static fromRows(format: FormatName, rows: Uint8Array | Handle, shape: Shape): PackedMatrix {
    if (rows instanceof Uint8Array) {
      const bytes = uploadBytes(rows, [rows.length]);
      try {
        return PackedMatrix.fromRows(format, bytes, shape);
      } finally {
        bytes.dispose();
      }
    }
    const flat = rows instanceof RawTensor ? rows : tf.tidy(() => tf.keep(tf.reshape(rows, [-1])));
    try {
      const T = { type: rows.dtype as "float32" } as const;
      return new PackedMatrix(format, shape, packed(runKernel("HsPack", { ...layout(format, shape), T }, [flat])));
    } finally {
      if (flat !== rows) flat.dispose();
    }
  }

  /** Packs codes with their scales. @throws HeadscopeError (usage) where they do not fit the shape or the format */
  static fromCodes(format: FormatName, { codes, scales, minima, zero }: CodedWeights, shape: Shape): PackedMatrix {
    const none = minima ?? tf.tensor1d([]);
    try {
      const attrs = { ...layout(format, shape), zero };
      return new PackedMatrix(format, shape, packed(runKernel("HsPackCodes", attrs, [codes, scales, none])));
    } finally {
      if (none !== minima) none.dispose();
    }
  }

  /** The same layout over another tensor: the input of a captured function. */
  over(tiles: RawTensor): PackedMatrix {
    return new PackedMatrix(this.format, this.shape, tiles);
  }

  /** Bytes that the weights take. */
  get bytes(): number {
    return this.tiles.shape.reduce((a, b) => a * b, 1);
  }

  /**
   * x · Wᵀ, made for 1 to 8 rows.
   * @param x [rows, in]
   * @param activations default "exact"; plain numbers are multiplied exactly in either
   * @returns [rows, out]
   */
  apply(x: Tensor, activations: Activations = "exact"): Tensor {
    const attrs = { ...layout(this.format, this.shape), bytes: activations === "8bit", T: { type: "uint8" } } as const;
    return kernelTensor("HsMatVec", attrs, [x, this.tiles]);
  }

  /** The float32 form [out, in]. */
  widen(): Tensor {
    return kernelTensor("HsUnpack", layout(this.format, this.shape), [this.tiles]);
  }

  /** Rows in float32. @param index int32 [n] @returns [n, in] */
  rows(index: Tensor): Tensor {
    return kernelTensor("HsUnpackRows", layout(this.format, this.shape), [this.tiles, index]);
  }

  dispose(): void {
    this.tiles.dispose();
  }
}

/** x · Wᵀ of a float32 matrix as it lies, made for 1 to 8 rows. @param x [rows, in] @param w [out, in] @returns [rows, out] */
export function multiplyRows(x: Tensor, w: Tensor): Tensor {
  const [rows, width] = w.shape as [number, number];
  return kernelTensor("HsMatVec", { format: ROW_ORDER, rows, width, bytes: false, T: { type: "float32" } }, [x, w]);
}

function layout(format: FormatName, [rows, width]: Shape): { format: number; rows: number; width: number } {
  if (!Number.isSafeInteger(rows) || !Number.isSafeInteger(width))
    throw new HeadscopeError("usage", `a matrix of ${rows} by ${width} cannot be packed`, { field: "shape" });
  return { format: formatCode(formatOf(format)), rows, width };
}

function packed(outputs: { id: number; shape: number[] }[]): RawTensor {
  const [output] = outputs;
  return new RawTensor(output!.id, "uint8", output!.shape);
}
