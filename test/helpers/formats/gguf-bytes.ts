/** A value of a GGUF header: a text, a 32-bit number, a list of either, or bytes as they stand in the file behind the type. */
export type GgufValue = string | number | readonly string[] | Float32Array | Int32Array;

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};

/** A text with its length, as GGUF writes one. */
export function ggufString(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(bytes.length), bytes]);
}

/** The beginning of a GGUF file of version 3: what it announces, before the first key. */
export function ggufStart(tensors: number, keys: number): Buffer {
  return Buffer.concat([Buffer.from("GGUF"), u32(3), u64(tensors), u64(keys)]);
}

/** The head of a list: type of the value, of its elements, and their number. */
export function ggufArray(elementType: number, count: number): Buffer {
  return Buffer.concat([u32(9), u32(elementType), u64(count)]);
}

function encode(value: GgufValue): Buffer {
  if (typeof value === "string") return Buffer.concat([u32(8), ggufString(value)]);
  if (typeof value === "number") return Buffer.concat([u32(4), u32(value)]);
  if (ArrayBuffer.isView(value)) {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return Buffer.concat([ggufArray(value instanceof Float32Array ? 6 : 5, value.length), bytes]);
  }
  return Buffer.concat([ggufArray(8, value.length), ...value.map(ggufString)]);
}

/** A whole GGUF header without tensors. */
export function ggufHeader(metadata: Readonly<Record<string, GgufValue>>): Buffer {
  const pairs = Object.entries(metadata);
  return Buffer.concat([
    ggufStart(0, pairs.length),
    ...pairs.flatMap(([key, value]) => [ggufString(key), encode(value)]),
  ]);
}
