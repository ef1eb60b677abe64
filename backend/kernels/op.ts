import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../common/errors.ts";
import type { OpAttr, TensorMetadata } from "../runtime/native.ts";
import { DTYPES, type Handle, idOf, native } from "../runtime/ops.ts";

/** An attribute of a kernel: whole numbers, a truth value, a float or a type. */
export type KernelAttr =
  | number
  | readonly number[]
  | boolean
  | { readonly float: number }
  | { readonly type: keyof typeof DTYPES };

/** Attributes as the binding takes them, for calls that are made often. */
export function attributesOf(attrs: Readonly<Record<string, KernelAttr>>): OpAttr[] {
  return Object.entries(attrs).map(([name, value]) => attribute(name, value));
}

/** The attributes of a call by name, or as `attributesOf` gave them. */
type Attrs = Readonly<Record<string, KernelAttr>> | readonly OpAttr[];

/**
 * Runs a kernel, eagerly or inside a function that is being captured.
 * @param name of the op
 * @param inputs tensors, or their numbers
 * @returns the outputs as the binding names them
 * @throws HeadscopeError (usage) where the kernel refuses the call, with what it says of it
 */
export function runKernel(
  name: string,
  attrs: Attrs,
  inputs: readonly (Handle | number)[],
  outputs = 1,
): TensorMetadata[] {
  const list = Array.isArray(attrs) ? (attrs as OpAttr[]) : attributesOf(attrs as Record<string, KernelAttr>);
  try {
    return native().binding.executeOp(name, list, inputs.map(numberOf), outputs);
  } catch (cause) {
    if (cause instanceof HeadscopeError) throw cause;
    throw refusal(name, cause);
  }
}

/** The number by which the binding knows a tensor. It keeps it for as long as the tensor lives. */
export function numberOf(input: Handle | number): number {
  return typeof input === "number" ? input : idOf(input);
}

/** `runKernel` of one output that tfjs has a type for. */
export function kernelTensor(name: string, attrs: Attrs, inputs: readonly Handle[]): Tensor {
  return native().createOutputTensor(runKernel(name, attrs, inputs)[0]!);
}

function attribute(name: string, value: KernelAttr): OpAttr {
  const { binding } = native();
  if (typeof value === "number" || isList(value)) return { name, type: binding.TF_ATTR_INT, value };
  if (typeof value === "boolean") return { name, type: binding.TF_ATTR_BOOL, value };
  if ("float" in value) return { name, type: binding.TF_ATTR_FLOAT, value: value.float };
  return { name, type: binding.TF_ATTR_TYPE, value: DTYPES[value.type] };
}

const isList = (value: KernelAttr): value is readonly number[] => Array.isArray(value);

/** TensorFlow's number for a call that cannot be as it is. */
const INVALID_ARGUMENT = 3;

function refusal(name: string, cause: unknown): HeadscopeError {
  const text = cause instanceof Error ? cause.message : String(cause);
  const [, code, message] = /Invalid TF_Status: (\d+)\s+Message: ([\s\S]*)/.exec(text) ?? [];
  const said = (message ?? text).split(" [Op:")[0]!.trim();
  const wrongCall = Number(code) === INVALID_ARGUMENT;
  return new HeadscopeError(wrongCall ? "usage" : "unsupported", `${name}: ${said}`, {
    remedy: wrongCall ? "docs/kernels.md has the shapes that each kernel takes" : "make the call smaller",
    cause,
  });
}
