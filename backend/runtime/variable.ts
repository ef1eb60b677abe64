import type { Tensor } from "@tensorflow/tfjs";
import { type Handle, idOf, native, RawTensor, rawEffect, rawOp, typeAttr } from "./ops.ts";
import { tf } from "./tf.ts";

/** Types of a variable's numbers that tfjs lacks. */
type NarrowDtype = "float16" | "uint8";

let serial = 0;

/**
 * A matrix that lives in the native runtime and is changed in place, by captured functions too.
 * Rows are written with `scatterRows` and read with `readVariable`, both through the handle.
 */
export class Variable {
  readonly handle: RawTensor;
  readonly shape: readonly [number, number];
  readonly dtype: "float32" | NarrowDtype;

  /** @param shape [rows, width]; all numbers are 0 @param dtype default float32 */
  constructor(shape: readonly [number, number], dtype: "float32" | NarrowDtype = "float32") {
    const { binding } = native();
    const [output] = binding.executeOp(
      "VarHandleOp",
      [
        typeAttr("dtype", dtype),
        { name: "shape", type: binding.TF_ATTR_SHAPE, value: [...shape] },
        { name: "shared_name", type: binding.TF_ATTR_STRING, value: `headscope_${process.pid}_${serial++}` },
        { name: "container", type: binding.TF_ATTR_STRING, value: "" },
      ],
      [],
      1,
    );
    this.handle = new RawTensor(output!.id, "resource", []);
    this.shape = shape;
    this.dtype = dtype;
    const zeros = dtype === "float32" ? tf.fill([...shape], 0) : narrowZeros(shape, dtype);
    rawEffect(
      "AssignVariableOp",
      [typeAttr("dtype", dtype), { name: "validate_shape", type: binding.TF_ATTR_BOOL, value: false }],
      [this.handle, zeros],
    );
    zeros.dispose();
  }

  /** Bytes that the rows take. */
  get bytes(): number {
    const [rows, width] = this.shape;
    return rows * width * { float32: 4, float16: 2, uint8: 1 }[this.dtype];
  }

  /** Frees the rows and the handle. */
  dispose(): void {
    const { binding } = native();
    rawEffect(
      "DestroyResourceOp",
      [{ name: "ignore_lookup_error", type: binding.TF_ATTR_BOOL, value: true }],
      [this.handle],
    );
    this.handle.dispose();
  }
}

function narrowZeros(shape: readonly [number, number], dtype: NarrowDtype): RawTensor {
  const { binding } = native();
  const truncate = { name: "Truncate", type: binding.TF_ATTR_BOOL, value: false };
  return tf.tidy(() => {
    const casts = [typeAttr("SrcT", "float32"), typeAttr("DstT", dtype), truncate];
    const zero = binding.executeOp("Cast", casts, [idOf(tf.scalar(0))], 1)[0]!.id;
    const fills = [typeAttr("T", dtype), typeAttr("index_type", "int32")];
    const { id } = binding.executeOp("Fill", fills, [idOf(tf.tensor1d([...shape], "int32")), zero], 1)[0]!;
    binding.deleteTensor(zero);
    return new RawTensor(id, dtype, shape) as never; // tidy passes on what it does not know
  });
}

/** Writes rows in place. @param index int32 [n] row numbers @param rows [n, width] of the variable's type */
export function scatterRows(handle: RawTensor, index: Tensor, rows: Handle): void {
  const attrs = [typeAttr("dtype", rows.dtype as "float32"), typeAttr("Tindices", "int32")];
  rawEffect("ResourceScatterUpdate", attrs, [handle, index, rows]);
}

/** Reads a variable without a copy: without DisableCopyOnRead, a variable that was scattered into is copied by every read. */
export function readVariable(handle: RawTensor): Tensor {
  rawEffect("DisableCopyOnRead", [], [handle]);
  return rawOp("ReadVariableOp", [typeAttr("dtype", "float32")], [handle]);
}

/** The same of a variable of another type. @returns a tensor of the caller's */
export function readNarrow(handle: RawTensor, dtype: NarrowDtype): RawTensor {
  rawEffect("DisableCopyOnRead", [], [handle]);
  const [output] = native().binding.executeOp("ReadVariableOp", [typeAttr("dtype", dtype)], [handle.id], 1);
  return new RawTensor(output!.id, dtype, output!.shape);
}
