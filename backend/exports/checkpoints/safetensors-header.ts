/** A float32 tensor to be written: name and shape, outermost dimension first. */
export interface TensorSlot {
  readonly name: string;
  readonly shape: readonly number[];
}

/** The layout of a safetensors file, which is fixed before any number is. */
export interface SafetensorsLayout {
  /** The file's first bytes: length, JSON, and spaces up to a multiple of 8 so that the data lies aligned. */
  readonly header: Uint8Array;
  /** Byte offset of each tensor from the start of the file. */
  readonly offsets: ReadonlyMap<string, number>;
  /** Length of the whole file in bytes. */
  readonly bytes: number;
}

/**
 * Lays out a safetensors file of float32 tensors in the order given, so that they can be written as they come.
 * @param metadata text by name; transformers wants format "pt"
 */
export function layoutSafetensors(
  slots: readonly TensorSlot[],
  metadata: Readonly<Record<string, string>>,
): SafetensorsLayout {
  const entries: Record<string, unknown> = { __metadata__: metadata };
  const starts = new Map<string, number>();
  let end = 0;
  for (const { name, shape } of slots) {
    const start = end;
    end += 4 * shape.reduce((product, size) => product * size, 1);
    entries[name] = { dtype: "F32", shape, data_offsets: [start, end] };
    starts.set(name, start);
  }
  const json = new TextEncoder().encode(JSON.stringify(entries));
  const length = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  const offsets = new Map([...starts].map(([name, start]) => [name, header.length + start]));
  return { header, offsets, bytes: header.length + end };
}

/** A float32 array as the little-endian bytes of a file, without a copy. */
export function floatBytes(data: Float32Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
