/** One tensor of a checkpoint. */
export interface TensorInfo {
  readonly name: string;
  /** Row-major, outermost first: a linear layer is [out, in] in both formats (GGUF lists it the other way round). */
  readonly shape: readonly number[];
  /** "Q4_1", "F32", ... */
  readonly type: string;
  /** Length in the file. */
  readonly bytes: number;
}

/** Rows kept in 8 bits: w = (codes - zero) * scale + (min ?? 0), one scale and min for each `block` consecutive inputs. */
export interface NarrowRows {
  /** [out, in] */
  readonly codes: Uint8Array;
  readonly zero: number;
  /** [out, in / block] */
  readonly scale: Float32Array;
  /** [out, in / block] */
  readonly min?: Float32Array;
  readonly block: number;
}

/** An open checkpoint file: its description at once, its tensors one by one on request. */
export interface Checkpoint {
  readonly path: string;
  readonly format: "gguf" | "safetensors";
  /**
   * GGUF: its key-value pairs (arrays of numbers as typed arrays, 64-bit numbers as bigint only where they must be), and
   * under "rope_freqs.weight" the divisors of rotary frequencies, which it stores as a tensor.
   * Safetensors: `config`, the parsed config.json beside the file (absent without one), and `safetensors`, its own strings.
   */
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * A tensor's weights in f32.
   * @throws HeadscopeError "missing" for an unknown name, "corrupt" for a NaN, an infinity or a file cut short
   */
  read(name: string): Promise<Float32Array<ArrayBuffer>>;
  /** A tensor's weights in 8 bits, or undefined when its type has none (plain floats). Throws as `read` does. */
  readNarrow(name: string): Promise<NarrowRows | undefined>;
  /**
   * A tensor's bytes as they lie in the file, row after row: of 16-bit numbers, and of Q4_0, Q4_1 and Q8_0. Undefined for other types.
   * Throws as `read` does.
   */
  readStored(name: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** "sha256:…" of the file's bytes. */
  digest(): Promise<string>;
  close(): Promise<void>;
}
