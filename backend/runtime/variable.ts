import type { Tensor } from "@tensorflow/tfjs";
import { DTYPES, native, RawTensor, rawEffect, rawOp, typeAttr } from "./ops.ts";
import { tf } from "./tf.ts";

let serial = 0;

/**
 * A float32 matrix that lives in the native runtime and is changed in place, by captured functions too.
 * Rows are written with `scatterRows` and read with `readVariable`, both through the handle.
 */
export class Variable {
  readonly handle: RawTensor;
  readonly shape: readonly [number, number];

  constructor(shape: readonly [number, number]) {
    const { binding } = native();
    const [output] = binding.executeOp(
      "VarHandleOp",
      [
        typeAttr("dtype", "float32"),
        { name: "shape", type: binding.TF_ATTR_SHAPE, value: [...shape] },
        { name: "shared_name", type: binding.TF_ATTR_STRING, value: `headscope_${process.pid}_${serial++}` },
        { name: "container", type: binding.TF_ATTR_STRING, value: "" },
      ],
      [],
      1,
    );
    this.handle = new RawTensor(output!.id, "resource", []);
    this.shape = shape;
    const zeros = tf.fill([...shape], 0);
    rawEffect(
      "AssignVariableOp",
      [typeAttr("dtype", "float32"), { name: "validate_shape", type: binding.TF_ATTR_BOOL, value: false }],
      [this.handle, zeros],
    );
    zeros.dispose();
  }

  /** Bytes that the rows take. */
  get bytes(): number {
    return this.shape[0] * this.shape[1] * 4;
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

/** Writes rows in place. @param index int32 [n] row numbers @param rows [n, width] */
export function scatterRows(handle: RawTensor, index: Tensor, rows: Tensor): void {
  rawEffect(
    "ResourceScatterUpdate",
    [typeAttr("dtype", "float32"), typeAttr("Tindices", "int32")],
    [handle, index, rows],
  );
}

/** Reads a variable without a copy: without DisableCopyOnRead, a variable that was scattered into is copied by every read. */
export function readVariable(handle: RawTensor): Tensor {
  rawEffect("DisableCopyOnRead", [], [handle]);
  return rawOp(
    "ReadVariableOp",
    [{ name: "dtype", type: native().binding.TF_ATTR_TYPE, value: DTYPES.float32 }],
    [handle],
  );
}
