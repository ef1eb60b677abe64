import type { Tensor, Tensor1D, Tensor2D } from "@tensorflow/tfjs";
import { type NativeBackend, nativeBackend, type OpAttr, type TensorMetadata } from "./native.ts";
import { tf } from "./tf.ts";

/** TensorFlow's numbers for the types that headscope puts into graphs. */
export const DTYPES = { float32: 1, int32: 3, uint8: 4, bool: 10, bfloat16: 14, float16: 19 } as const;
export type RawDtype = "uint8" | "bfloat16" | "float16";

/** A tensor of the native runtime that tfjs has no type for: 8-bit codes, 16-bit floats or a variable's handle. */
export class RawTensor {
  readonly id: number;
  readonly dtype: RawDtype;
  readonly shape: readonly number[];
  #backend: NativeBackend;
  #disposed = false;

  constructor(id: number, dtype: RawDtype, shape: readonly number[]) {
    this.id = id;
    this.dtype = dtype;
    this.shape = shape;
    this.#backend = native();
  }

  /** Frees the tensor. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#backend.binding.deleteTensor(this.id);
  }
}

/** An argument of an op or a captured function. */
export type Handle = Tensor | RawTensor;

/** Bytes of an element, by type. */
const ELEMENT_BYTES: Readonly<Record<string, number>> = { uint8: 1, bool: 1, bfloat16: 2, float16: 2 };

/** Bytes that a tensor's values take. */
export function handleBytes({ shape, dtype }: Handle): number {
  return shape.reduce((a, b) => a * b, 1) * (ELEMENT_BYTES[dtype] ?? 4);
}

/** The native backend; only code behind `hasNative()` may call this. */
export function native(): NativeBackend {
  const backend = nativeBackend(tf);
  if (!backend) throw new Error("native op called on another backend");
  return backend;
}

/** Says that the native backend is in use. */
export function hasNative(): boolean {
  return nativeBackend(tf) !== undefined;
}

/** The runtime's number for a tensor; uploads values that still wait in JavaScript. */
export function idOf(handle: Handle): number {
  return handle instanceof RawTensor ? handle.id : native().getInputTensorIds([handle])[0]!;
}

/** An attribute that names a type. */
export function typeAttr(name: string, dtype: keyof typeof DTYPES): OpAttr {
  return { name, type: native().binding.TF_ATTR_TYPE, value: DTYPES[dtype] };
}

/** Executes an op that tfjs does not offer and returns its only output. */
export function rawOp(name: string, attrs: OpAttr[], inputs: Handle[]): Tensor {
  const backend = native();
  return backend.createOutputTensor(backend.binding.executeOp(name, attrs, inputs.map(idOf), 1)[0]!);
}

/** Executes an op that has no output. */
export function rawEffect(name: string, attrs: OpAttr[], inputs: Handle[]): void {
  native().binding.executeOp(name, attrs, inputs.map(idOf), 0);
}

/** Uploads bytes as an 8-bit tensor. @param shape of the tensor; its product is `bytes.length` */
export function uploadBytes(bytes: Uint8Array, shape: readonly number[]): RawTensor {
  const { binding } = native();
  return new RawTensor(binding.createTensor(shape, binding.TF_UINT8, bytes), "uint8", shape);
}

/**
 * Uploads numbers in bfloat16. The binding takes no such values, so they go in as pairs of bytes and are then looked at
 * as 16-bit floats, which shares the memory.
 * @param bits upper halves of float32 numbers @param shape of the tensor; its product is `bits.length`
 */
export function uploadBf16(bits: Uint16Array, shape: readonly number[]): RawTensor {
  const pairs = uploadBytes(new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength), [...shape, 2]);
  const output = native().binding.executeOp(
    "Bitcast",
    [typeAttr("T", "uint8"), typeAttr("type", "bfloat16")],
    [pairs.id],
    1,
  );
  pairs.dispose();
  return new RawTensor(output[0]!.id, "bfloat16", shape);
}

/** Widens 8-bit codes or bfloat16 numbers to float32 of the same shape. */
export function widenRaw(codes: RawTensor): Tensor {
  const { binding } = native();
  return rawOp(
    "Cast",
    [
      typeAttr("SrcT", codes.dtype),
      typeAttr("DstT", "float32"),
      { name: "Truncate", type: binding.TF_ATTR_BOOL, value: false },
    ],
    [codes],
  );
}

/**
 * Rows of a matrix by number. tfjs's own gather reads the indices back to check them, which no captured function can do.
 * @param index int32 [n] @returns [n, ...]
 */
export function gatherRows(x: Tensor, index: Tensor): Tensor {
  if (!hasNative()) return tf.gather(x, index as Tensor1D);
  const [output] = gather(x, index);
  return native().createOutputTensor(output!);
}

/**
 * Rows of a matrix by number, with a gradient that tfjs's own gather lacks here: on the native backend a captured
 * function can hold it, elsewhere rows are products with one-hot vectors.
 * @param table [n, width] @param index int32 [k] @returns [k, width]
 */
export function embedRows(table: Tensor, index: Tensor): Tensor {
  const [rows] = table.shape as [number];
  if (!hasNative()) return tf.matMul(tf.oneHot(index as Tensor1D, rows).toFloat() as Tensor2D, table as Tensor2D);
  return tf.customGrad((...args: (Tensor | ((saved: Tensor[]) => void))[]) => {
    const source = args[0] as Tensor;
    return { value: gatherRows(source, index), gradFunc: (dy: Tensor) => [sumRows(dy, index, rows)] };
  })(table);
}

/** Sums rows by the number of where they belong. @param x [k, width] @param index int32 [k] @returns [rows, width] */
export function sumRows(x: Tensor, index: Tensor, rows: number): Tensor {
  if (!hasNative()) return tf.matMul(tf.oneHot(index as Tensor1D, rows).toFloat() as Tensor2D, x as Tensor2D, true);
  const attrs = [typeAttr("T", "float32"), typeAttr("Tindices", "int32"), typeAttr("Tnumsegments", "int32")];
  return rawOp("UnsortedSegmentSum", attrs, [x, index, tf.scalar(rows, "int32")]);
}

/**
 * A condition on a tensor, through which no gradient flows: tfjs has none for comparisons and refuses to go back through them.
 * @param test gives bools in the shape of x
 */
export function conditionOn(x: Tensor, test: (x: Tensor) => Tensor): Tensor {
  return tf.customGrad((...args: (Tensor | ((saved: Tensor[]) => void))[]) => {
    const source = args[0] as Tensor;
    return { value: test(source), gradFunc: (dy: Tensor) => [tf.zerosLike(dy)] };
  })(x);
}

/** Rows of a narrow matrix, widened to float32. @param index int32 [n] @returns [n, width] */
export function gatherRaw(codes: RawTensor, index: Tensor): Tensor {
  const [output] = gather(codes, index);
  const rows = new RawTensor(output!.id, codes.dtype, output!.shape);
  const wide = widenRaw(rows);
  rows.dispose();
  return wide;
}

function gather(x: Handle, index: Tensor): TensorMetadata[] {
  const { binding } = native();
  const attrs = [
    typeAttr("Tparams", x.dtype as keyof typeof DTYPES),
    typeAttr("Tindices", "int32"),
    typeAttr("Taxis", "int32"),
  ];
  attrs.push({ name: "batch_dims", type: binding.TF_ATTR_INT, value: 0 });
  return binding.executeOp("GatherV2", attrs, [x, index, tf.scalar(0, "int32")].map(idOf), 1);
}
