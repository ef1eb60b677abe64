import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../common/errors.ts";
import { type AttrValue, encodeGraph, type NodeDef, shapeProto } from "./graphdef.ts";
import type { Binding, NativeBackend, OpAttr, TensorMetadata } from "./native.ts";
import { DTYPES, type Handle, idOf, native, RawTensor } from "./ops.ts";
import { tf } from "./tf.ts";

/** A graph recorded from one run of a function, ready to be registered. */
export interface Recording {
  graph: Uint8Array;
  /** `node:index` of every input and output, in order; declared constants follow the arguments. */
  inputs: string[];
  outputs: string[];
  /** Nodes with effects: they run even where no output needs them. */
  controls: string[];
  /** Number of recorded ops, constants left out. */
  ops: number;
}

type Recorded =
  | { kind: "constant"; id: number; shape: readonly number[]; dtype: number; bytes: Uint8Array }
  | { kind: "op"; name: string; attrs: OpAttr[]; inputs: number[]; outputs: TensorMetadata[] };

const RANDOM_OPS = /^(Random|StatelessRandom|Multinomial|TruncatedNormal|ParameterizedTruncatedNormal)/;
const RANDOM_SCOPES =
  /^(rand|randomNormal|randomUniform|randomUniformInt|randomStandardNormal|randomGamma|truncatedNormal|multinomial|dropout)_*op$/;
const DATA_DEPENDENT_OPS = /^(Where|Unique|UniqueV2|ListDiff|DynamicPartition|NonMaxSuppression)/;
const EFFECT_OPS = /^Hs(Cache|Attend|Block)/;

/** Registered functions by name: a function that calls another holds a call of it, not its ops. */
const registered = new Map<string, { xla: boolean }>();

/** Notes that a name is a function's. */
export function noteFunction(name: string, about: { xla: boolean }): void {
  registered.set(name, about);
}

/** Forgets a function's name. */
export function forgetFunction(name: string): void {
  registered.delete(name);
}

/** Inputs of a recorded function beside its arguments. */
export interface RecordOptions {
  /** Of the inputs, -1 for a length that may differ at the call; default: the examples' own. */
  readonly shapes?: readonly (readonly number[] | undefined)[] | undefined;
  /** Tensors from outside that the function may use; they become inputs behind the arguments. */
  readonly constants?: Handle[];
}

/**
 * Runs `fn` once for real and records every op that the native binding executes and every constant that it uploads.
 * @param args example inputs
 * @throws HeadscopeError (unsupported) naming the op, for random numbers, reads, shapes that depend on data and tensors from outside
 */
export function record(
  name: string,
  fn: (...args: Handle[]) => Tensor[],
  args: Handle[],
  { shapes = [], constants = [] }: RecordOptions = {},
): Recording {
  const backend = native();
  const names = new Map<number, string>();
  const inputs = [...args, ...constants];
  inputs.forEach((handle, i) => {
    names.set(idOf(handle), `in${i}`);
  });
  const recorder = new Recorder(name, backend, new Set(names.keys()));
  const outputs = recorder.run(() => fn(...args));
  try {
    return toGraph(recorder.recorded, { name, inputs, shapes, outputs, nodeOf: names });
  } finally {
    const inputIds = new Set(inputs.filter((h) => !(h instanceof RawTensor)).map((h) => (h as Tensor).dataId));
    for (const output of outputs) if (!inputIds.has(output.dataId)) output.dispose();
    recorder.flush();
  }
}

/** Stands between tfjs and the binding while a function is recorded. */
class Recorder {
  readonly recorded: Recorded[] = [];
  #name: string;
  #backend: NativeBackend;
  #binding: Binding;
  #inside: Set<number>;
  #producer = new Map<number, string>();
  #madeInside = new WeakSet<object>();
  #pendingDeletes: number[] = [];

  constructor(name: string, backend: NativeBackend, inputs: Set<number>) {
    this.#name = name;
    this.#backend = backend;
    this.#binding = backend.binding;
    this.#inside = inputs;
  }

  run(fn: () => Tensor[]): Tensor[] {
    const backend = this.#backend;
    const engine = tf.engine() as unknown as { startScope(name?: string): void };
    const { startScope } = engine;
    const { move, getInputTensorIds } = backend;
    backend.binding = this.#proxy();
    backend.move = (dataId, ...rest) => {
      this.#madeInside.add(dataId);
      move.call(backend, dataId, ...rest);
    };
    backend.getInputTensorIds = (tensors) => {
      // A tensor from outside that still waits in JavaScript would be uploaded now and look like a constant of ours.
      const ids = getInputTensorIds.call(
        { ...backend, binding: this.#binding, tensorMap: backend.tensorMap },
        tensors.filter((t) => this.#waitsOutside(t)),
      );
      void ids;
      return getInputTensorIds.call(backend, tensors);
    };
    engine.startScope = (scope?: string) => {
      if (scope && RANDOM_SCOPES.test(scope))
        throw this.#refuse(
          scope.replace(/_*op$/, ""),
          "draws random numbers, which would be frozen",
          "pass random numbers in as inputs",
        );
      startScope.call(engine, scope);
    };
    try {
      return tf.tidy(fn);
    } catch (error) {
      this.flush();
      throw error;
    } finally {
      backend.binding = this.#binding;
      delete (backend as Partial<NativeBackend>).move;
      delete (backend as Partial<NativeBackend>).getInputTensorIds;
      delete (engine as Partial<typeof engine>).startScope;
    }
  }

  /** Frees what the recorded run no longer needs; ids stay unique until then. */
  flush(): void {
    for (const id of this.#pendingDeletes.splice(0)) this.#binding.deleteTensor(id);
  }

  #waitsOutside(tensor: { dataId: object }): boolean {
    const data = this.#backend.tensorMap.has(tensor.dataId) ? this.#backend.tensorMap.get(tensor.dataId) : undefined;
    return data !== undefined && data.values != null && !this.#madeInside.has(tensor.dataId);
  }

  #proxy(): Binding {
    const real = this.#binding;
    const proxy = Object.create(null) as Record<string, unknown>;
    for (const key of Object.getOwnPropertyNames(real)) proxy[key] = (real as unknown as Record<string, unknown>)[key];
    return Object.assign(proxy as unknown as Binding, {
      createTensor: (shape: readonly number[], dtype: number, values: ArrayBufferView | readonly unknown[]) => {
        const id = real.createTensor(shape, dtype, values);
        this.recorded.push({ kind: "constant", id, shape: [...shape], dtype, bytes: bytesOf(values, dtype, real) });
        this.#inside.add(id);
        return id;
      },
      executeOp: (op: string, attrs: OpAttr[], inputs: number[], count: number) => {
        if (RANDOM_OPS.test(op))
          throw this.#refuse(op, "draws random numbers, which would be frozen", "pass random numbers in as inputs");
        if (DATA_DEPENDENT_OPS.test(op))
          throw this.#refuse(op, "has a result whose shape depends on data", "compute it outside");
        for (const input of inputs)
          if (!this.#inside.has(input))
            throw this.#refuse(
              op,
              "uses a tensor that is neither an argument nor made inside",
              "pass it as an argument or declare it in `constants`",
            );
        const outputs = real.executeOp(op, attrs, inputs, count);
        this.recorded.push({ kind: "op", name: op, attrs: attrs.map((a) => ({ ...a })), inputs: [...inputs], outputs });
        for (const { id } of outputs) {
          this.#inside.add(id);
          this.#producer.set(id, op);
        }
        return outputs;
      },
      tensorDataSync: (id: number) => {
        throw this.#refuse(
          this.#producer.get(id) ?? "an input",
          "is read in the middle",
          "return the value and read it after the call",
        );
      },
      deleteTensor: (id: number) => {
        this.#pendingDeletes.push(id);
      },
    });
  }

  #refuse(op: string, what: string, remedy: string): HeadscopeError {
    return new HeadscopeError("unsupported", `capture of ${this.#name}: ${op} ${what}`, { remedy });
  }
}

function bytesOf(values: ArrayBufferView | readonly unknown[], dtype: number, binding: Binding): Uint8Array {
  if (ArrayBuffer.isView(values)) {
    return new Uint8Array(values.buffer.slice(values.byteOffset, values.byteOffset + values.byteLength) as ArrayBuffer);
  }
  const numbers = values as readonly number[];
  if (dtype === binding.TF_FLOAT) return new Uint8Array(Float32Array.from(numbers).buffer);
  if (dtype === binding.TF_INT32) return new Uint8Array(Int32Array.from(numbers).buffer);
  if (dtype === binding.TF_BOOL) return Uint8Array.from(numbers, Number);
  throw new HeadscopeError("unsupported", `capture: a constant of type ${dtype} can't be recorded`);
}

/** Ends of a recorded function: its inputs, and the tensors that it returned. */
interface RecordedEnds {
  name: string;
  inputs: Handle[];
  shapes: readonly (readonly number[] | undefined)[];
  outputs: Tensor[];
  /** Names of the nodes that give a tensor, by its id. */
  nodeOf: Map<number, string>;
}

function toGraph(recorded: readonly Recorded[], { name, inputs, shapes, outputs, nodeOf }: RecordedEnds): Recording {
  const nodes: NodeDef[] = inputs.map((handle, i) => ({
    name: `in${i}`,
    op: "Placeholder",
    input: [],
    attr: {
      dtype: { type: DTYPES[handle.dtype as keyof typeof DTYPES] },
      shape: { shape: shapeProto(shapes[i] ?? handle.shape) },
    },
  }));
  const dtypes = new Map(inputs.map((handle) => [idOf(handle), DTYPES[handle.dtype as keyof typeof DTYPES] as number]));
  const controls: string[] = [];
  let ops = 0;
  recorded.forEach((entry, index) => {
    const node = `n${index}`;
    if (entry.kind === "constant") {
      dtypes.set(entry.id, entry.dtype);
      if (nodeOf.has(entry.id)) return;
      nodeOf.set(entry.id, node);
      const value = { dtype: entry.dtype, tensorShape: shapeProto(entry.shape), tensorContent: entry.bytes };
      nodes.push({
        name: node,
        op: "Const",
        input: [],
        attr: { dtype: { type: entry.dtype }, value: { tensor: value } },
      });
      return;
    }
    ops++;
    const input = entry.inputs.map((id) => nodeOf.get(id)!);
    if (EFFECT_OPS.test(entry.name)) {
      const before = controls.at(-1);
      if (before) input.push(`^${before}`);
      controls.push(node);
    }
    const attr = Object.fromEntries(entry.attrs.map((a) => [a.name, attrValue(a)]));
    const called = registered.get(entry.name);
    if (called) {
      const types = (list: number[]): AttrValue => ({ list: { type: list } });
      attr["Tin"] = types(entry.inputs.map((id) => dtypes.get(id)!));
      attr["Tout"] = types(entry.outputs.map(({ dtype }) => dtype));
      attr["f"] = { func: { name: entry.name } };
      attr["_XlaMustCompile"] = { b: called.xla };
    }
    // tfjs leaves this type to eager execution's inference, which a graph does not have.
    if (entry.name === "ExpandDims") attr["T"] = { type: dtypes.get(entry.inputs[0]!)! };
    nodes.push({ name: node, op: called ? "PartitionedCall" : entry.name, input, attr });
    entry.outputs.forEach(({ id, dtype }, i) => {
      dtypes.set(id, dtype);
      nodeOf.set(id, i === 0 ? node : `${node}:${i}`);
    });
  });
  outputs.forEach((output, i) => {
    const source = nodeOf.get(idOf(output));
    if (!source)
      throw new HeadscopeError("unsupported", `capture of ${name}: output ${i} was made outside`, {
        remedy: "pass it as an argument",
      });
    const T = { type: DTYPES[output.dtype as keyof typeof DTYPES] };
    nodes.push({ name: `out${i}`, op: "Identity", input: [source], attr: { T } });
  });
  return {
    graph: encodeGraph(nodes),
    inputs: inputs.map((_, i) => `in${i}:0`),
    outputs: outputs.map((_, i) => `out${i}:0`),
    controls,
    ops,
  };
}

function attrValue({ name, type, value }: OpAttr): AttrValue {
  const { binding } = native();
  if (type === binding.TF_ATTR_TYPE)
    return Array.isArray(value) ? { list: { type: value } } : { type: value as number };
  if (type === binding.TF_ATTR_INT) return Array.isArray(value) ? { list: { i: value } } : { i: value as number };
  if (type === binding.TF_ATTR_FLOAT) return { f: value as number };
  if (type === binding.TF_ATTR_BOOL) return { b: Boolean(value) };
  if (type === binding.TF_ATTR_STRING) return { s: new TextEncoder().encode(String(value ?? "")) };
  if (type === binding.TF_ATTR_SHAPE) return { shape: shapeProto(value as number[]) };
  throw new HeadscopeError("unsupported", `capture: attribute ${name} has a type that can't be recorded`);
}
