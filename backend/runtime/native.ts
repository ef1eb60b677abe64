import { createRequire } from "node:module";
import util from "node:util";
import type * as tfjs from "@tensorflow/tfjs";
import type { Tensor, TensorInfo } from "@tensorflow/tfjs";

/** An attribute of an op as the binding takes it; `type` is one of the binding's TF_ATTR_* numbers. */
export interface OpAttr {
  name: string;
  type: number;
  value: unknown;
}

/** The binding's answer for every output of an op. */
export interface TensorMetadata {
  id: number;
  shape: number[];
  dtype: number;
}

/** The calls and constants of the native binding that headscope uses; `defineFunction` and `removeFunction` come from our patch. */
export interface Binding {
  createTensor(shape: readonly number[], dtype: number, values: ArrayBufferView | readonly unknown[]): number;
  deleteTensor(id: number): void;
  tensorDataSync(id: number): ArrayBufferView;
  executeOp(name: string, attrs: OpAttr[], inputs: number[], outputs: number): TensorMetadata[];
  defineFunction(
    name: string,
    graph: Uint8Array,
    inputs: string[],
    outputs: string[],
    controls: string[],
    xla: boolean,
  ): void;
  removeFunction(name: string): void;
  TF_Version: string;
  TF_FLOAT: number;
  TF_INT32: number;
  TF_UINT8: number;
  TF_BOOL: number;
  TF_RESOURCE: number;
  TF_STRING: number;
  TF_ATTR_STRING: number;
  TF_ATTR_INT: number;
  TF_ATTR_FLOAT: number;
  TF_ATTR_BOOL: number;
  TF_ATTR_TYPE: number;
  TF_ATTR_SHAPE: number;
}

/** The kernel backend of tfjs-node as far as capture looks into it. */
export interface NativeBackend {
  binding: Binding;
  tensorMap: { get(dataId: object): { id: number; values: unknown }; has(dataId: object): boolean };
  getInputTensorIds(tensors: TensorInfo[]): number[];
  createOutputTensor(metadata: TensorMetadata): Tensor;
  write(values: unknown, shape: number[], dtype: string): object;
  move(dataId: object, values: unknown, shape: number[], dtype: string, refCount: number): void;
}

const require = createRequire(import.meta.url);

/**
 * Loads tfjs-node-gpu with its native binding.
 * @throws whatever the package throws where no binding is built for this machine
 */
export function loadNative(): typeof tfjs {
  // Gone since Node 23, and the package calls them when it loads.
  const legacy = util as unknown as Record<string, unknown>;
  legacy["isNullOrUndefined"] ??= (x: unknown) => x == null;
  legacy["isArray"] ??= Array.isArray;
  process.env["TF_CPP_MIN_LOG_LEVEL"] ??= "2";
  // oneDNN makes a primitive for every small product: a decode step's attention takes 2.5 times as long with it.
  process.env["TF_ENABLE_ONEDNN_OPTS"] ??= "0";
  return require("@tensorflow/tfjs-node-gpu") as typeof tfjs;
}

/** The native backend behind a tfjs module, or undefined where another backend is in use. */
export function nativeBackend(tf: typeof tfjs): NativeBackend | undefined {
  return tf.getBackend() === "tensorflow" ? (tf.backend() as unknown as NativeBackend) : undefined;
}
