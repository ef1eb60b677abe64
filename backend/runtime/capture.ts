import type { Tensor } from "@tensorflow/tfjs";
import { type Handle, hasNative, idOf, native } from "./ops.ts";
import { Recent } from "./recent.ts";
import { forgetFunction, noteFunction, record } from "./record.ts";
import { tf } from "./tf.ts";

/** A pure function of tensors. */
export type TensorFunction = (...args: Handle[]) => Tensor[];

export interface CaptureOptions {
  /** Shown in errors and in the table of functions. */
  name: string;
  /** Compile with XLA: pays for what runs often at few shapes. Default false; HEADSCOPE_XLA=off keeps everything uncompiled. */
  xla?: boolean;
  /** Input shapes, -1 for a length that may differ at the call. Default: those of the examples. */
  shapes?: readonly (readonly number[] | undefined)[];
  /** Tensors from outside that the function may use. They stay the caller's to dispose, after the function. */
  constants?: Handle[];
}

/** A function of tensors that runs as one op. */
export interface Captured {
  readonly name: string;
  /** Recorded ops; 0 where the backend has no functions and the function is simply called. */
  readonly ops: number;
  /** Bytes of the graph, constants included. */
  readonly bytes: number;
  /** Runs it. The caller disposes the results. */
  run(inputs: Handle[]): Tensor[];
  /** Removes it from the runtime; running it afterwards is an error. */
  dispose(): void;
}

let serial = 0;

/**
 * Makes one op of a pure function of tensors by recording it on example inputs (where it runs once for real).
 * On a backend without functions the result calls `fn` inside tidy.
 * @param example inputs with the types and, unless `shapes` says otherwise, the shapes of all later calls
 * @throws HeadscopeError (unsupported) naming the op that can't be part of a function
 */
export function capture(fn: TensorFunction, example: Handle[], options: CaptureOptions): Captured {
  if (!hasNative() || typeof native().binding.defineFunction !== "function") return uncaptured(fn, options.name);
  const { binding } = native();
  const { constants = [] } = options;
  const xla = (options.xla ?? false) && process.env.HEADSCOPE_XLA !== "off";
  const recording = record(options.name, fn, example, { shapes: options.shapes, constants });
  const registered = `${options.name.replace(/[^A-Za-z0-9_]/g, "_")}_${serial++}`;
  binding.defineFunction(registered, recording.graph, recording.inputs, recording.outputs, recording.controls, xla);
  noteFunction(registered, { xla });
  const count = recording.outputs.length;
  let gone = false;
  return {
    name: registered,
    ops: recording.ops,
    bytes: recording.graph.byteLength,
    run(inputs) {
      if (gone) throw new Error(`function ${registered} was removed`);
      const backend = native();
      const ids = [...inputs, ...constants].map(idOf);
      return backend.binding.executeOp(registered, [], ids, count).map((m) => backend.createOutputTensor(m));
    },
    dispose() {
      if (gone) return;
      gone = true;
      forgetFunction(registered);
      binding.removeFunction(registered);
    },
  };
}

function uncaptured(fn: TensorFunction, name: string): Captured {
  return { name, ops: 0, bytes: 0, run: (inputs) => tf.tidy(() => fn(...inputs)), dispose() {} };
}

/** Captured functions by key, the least recently used removed once their graphs exceed a limit. */
export class FunctionTable {
  readonly limit: number;
  readonly #functions: Recent<Captured>;
  #captures = 0;

  /** @param limit in bytes, default 64 MiB */
  constructor(limit = 64 * 2 ** 20) {
    this.limit = limit;
    this.#functions = new Recent({ bytes: limit, size: ({ bytes }) => bytes, free: (captured) => captured.dispose() });
  }

  /** Bytes of all graphs held. */
  get bytes(): number {
    return this.#functions.bytes;
  }

  /** Functions held. */
  get size(): number {
    return this.#functions.size;
  }

  /** Captures made since the start: it stays the same while every call finds its function. */
  get captures(): number {
    return this.#captures;
  }

  /** The function of this key, captured on `example` where it is not there yet. */
  get(key: string, fn: TensorFunction, example: () => Handle[], options: () => CaptureOptions): Captured {
    return this.obtain(key, () => capture(fn, example(), options()));
  }

  /** The function of this key, made where it is not there yet. @param make captures it, and perhaps others that it calls and disposes */
  obtain(key: string, make: () => Captured): Captured {
    return this.#functions.obtain(key, () => {
      const captured = make();
      this.#captures++;
      return captured;
    });
  }

  /** Says that a function of this key is held. */
  has(key: string): boolean {
    return this.#functions.has(key);
  }

  /** Removes all functions, or those whose key starts with `prefix`. */
  clear(prefix = ""): void {
    this.#functions.clear(prefix);
  }
}

/** The one table of this process. */
export const functions: FunctionTable = new FunctionTable();
