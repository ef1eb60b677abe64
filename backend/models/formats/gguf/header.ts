/**
 * The header of a GGUF file, parsed from a prefix of its bytes. Nothing that a header claims is trusted: a count is
 * checked against the bytes left in the file before anything is allocated or looped over. (The package
 * @huggingface/gguf reads zeros past the end of a truncated file and cuts strings that lie about their length.)
 * Format: docs/gguf.md of ggml.
 */
import { HeadscopeError } from "../../../common/errors.ts";
import { GGUF_HEADER } from "../budgets.ts";
import { corrupt } from "../bytes.ts";
import type { TensorInfo } from "../checkpoint.ts";
import { QUANTISATIONS, quantisationById, typeLabel } from "./quantisation.ts";

/** Longest header in bytes: some twenty times that of a vocabulary of 256,000 tokens. */
export const LONGEST_HEADER = 2 ** 28;
/** Longest string in bytes; chat templates, the longest there are, have some ten thousand. */
const LONGEST_STRING = 2 ** 24;
/** Deepest nesting of arrays that a header may have. */
const DEEPEST = 4;

/** A tensor with its place in the file. */
export interface PlacedTensor extends TensorInfo {
  /** First byte, from the start of the file. */
  readonly offset: number;
}

export interface GgufHeader {
  readonly metadata: Record<string, unknown>;
  readonly tensors: Map<string, PlacedTensor>;
}

/** More of the file is needed than the prefix holds. */
export class MoreBytes extends Error {
  readonly needed: number;
  constructor(needed: number) {
    super(`needs ${needed} bytes`);
    this.needed = needed;
  }
}

/** Smallest size in bytes of each value type; index is GGUF's number of the type. */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8] as const;
const [BOOL, STRING, ARRAY] = [7, 8, 9] as const;
const TYPED = {
  0: Uint8Array, 1: Int8Array, 2: Uint16Array, 3: Int16Array, 4: Uint32Array, 5: Int32Array, 6: Float32Array,
  10: BigUint64Array, 11: BigInt64Array, 12: Float64Array,
} as const; // biome-ignore format: a table

/** Reads forward over the prefix; every step is checked against the file's size, then against the prefix. */
class Cursor {
  at = 4;
  readonly bytes: Buffer;
  readonly size: number;
  readonly path: string;
  /** Room that is left to the header: elements of arrays, and bytes of names. */
  #elements = GGUF_HEADER.elements;
  #nameBytes = GGUF_HEADER.nameBytes;

  constructor(bytes: Uint8Array, size: number, path: string) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.size = size;
    this.path = path;
  }

  /** Moves over `length` bytes and returns where they begin. */
  take(length: number, what: string): number {
    const end = this.at + length;
    if (end > this.size) {
      throw corrupt(this.path, `${what} needs bytes up to ${end}, and the file has ${this.size}`);
    }
    if (end > LONGEST_HEADER)
      throw corrupt(this.path, `its header is longer than ${LONGEST_HEADER} bytes (at ${what})`);
    if (end > this.bytes.length) throw new MoreBytes(end);
    const start = this.at;
    this.at = end;
    return start;
  }

  u32(what: string): number {
    return this.bytes.readUInt32LE(this.take(4, what));
  }

  u64(what: string): number {
    const value = this.bytes.readBigUInt64LE(this.take(8, what));
    // Beyond 2^53 no count, length or offset can be true; the exact figure doesn't matter.
    return Number(value);
  }

  /** A count of things that take `each` bytes or more: it must fit into what is left of the file, and be no more than `limit`. */
  count(what: string, each: number, limit = Number.POSITIVE_INFINITY): number {
    const count = this.u64(what);
    const most = Math.floor((this.size - this.at) / each);
    if (count > most) throw corrupt(this.path, `${what} is ${count}, and the rest of the file has room for ${most}`);
    if (count > limit) throw corrupt(this.path, `${what} is ${count}; ${limit} are the most`);
    return count;
  }

  /** Counts what an array holds against what the whole header may. @param each cost of one element */
  spend(elements: number, each: number, what: string): void {
    this.#elements -= elements * each;
    if (this.#elements >= 0) return;
    const counted = `arrays of arrays count ${GGUF_HEADER.elementsOfAnArray} each`;
    const most = `a header may hold ${GGUF_HEADER.elements} elements of arrays (${counted})`;
    throw corrupt(this.path, `${what} has ${elements} elements; ${most}`);
  }

  /** The name of a key or a tensor. */
  name(what: string): string {
    const before = this.at;
    const name = this.string(what);
    this.#nameBytes -= this.at - before;
    if (this.#nameBytes >= 0) return name;
    throw corrupt(this.path, `up to ${what} its names have more than ${GGUF_HEADER.nameBytes} bytes`);
  }

  string(what: string): string {
    const length = this.count(`the length of ${what}`, 1);
    if (length > LONGEST_STRING)
      throw corrupt(this.path, `${what} has ${length} bytes; ${LONGEST_STRING} are the most`);
    const start = this.take(length, what);
    return this.bytes.toString("utf8", start, start + length);
  }
}

function arrayValue(cursor: Cursor, key: string, depth: number): unknown {
  const type = cursor.u32(`the element type of ${key}`);
  const each = VALUE_BYTES[type];
  if (each === undefined) throw corrupt(cursor.path, `${key} has elements of unknown type ${type}`);
  if (depth >= DEEPEST) throw corrupt(cursor.path, `${key} nests arrays deeper than ${DEEPEST}`);
  const count = cursor.count(`the element count of ${key}`, each);
  cursor.spend(count, type === ARRAY ? GGUF_HEADER.elementsOfAnArray : 1, key);
  if (type === STRING || type === ARRAY || type === BOOL) {
    const values: unknown[] = [];
    for (let i = 0; i < count; i++) values.push(scalarOrArray(cursor, type, key, depth + 1));
    return values;
  }
  const start = cursor.take(count * each, key);
  const copy = new Uint8Array(cursor.bytes.subarray(start, cursor.at)); // own, aligned buffer
  return new TYPED[type as keyof typeof TYPED](copy.buffer);
}

function scalarOrArray(cursor: Cursor, type: number, key: string, depth = 0): unknown {
  if (type === STRING) return cursor.string(key);
  if (type === ARRAY) return arrayValue(cursor, key, depth);
  const length = VALUE_BYTES[type];
  if (length === undefined) throw corrupt(cursor.path, `${key} has the unknown value type ${type}`);
  const start = cursor.take(length, key);
  if (type === BOOL) return cursor.bytes[start] !== 0;
  const copy = new Uint8Array(cursor.bytes.subarray(start, cursor.at));
  const value = new TYPED[type as keyof typeof TYPED](copy.buffer)[0]!;
  return typeof value === "bigint" && BigInt.asIntN(54, value) === value ? Number(value) : value;
}

function readMetadata(cursor: Cursor, count: number): Record<string, unknown> {
  const pairs = new Map<string, unknown>();
  for (let i = 0; i < count; i++) {
    const key = cursor.name(`metadata key ${i + 1} of ${count}`);
    if (pairs.has(key)) throw corrupt(cursor.path, `the metadata key "${key}" stands twice`);
    pairs.set(key, scalarOrArray(cursor, cursor.u32(`the type of ${key}`), `metadata "${key}"`));
  }
  return Object.fromEntries(pairs);
}

function readTensorInfo(cursor: Cursor, number: string): PlacedTensor {
  const { path } = cursor;
  const name = cursor.name(`the name of tensor ${number}`);
  const label = `tensor "${name}"`;
  const dimensions = cursor.u32(`the dimensions of ${label}`);
  if (dimensions < 1 || dimensions > 4) throw corrupt(path, `${label} has ${dimensions} dimensions; expected 1 to 4`);
  const shape: number[] = [];
  for (let i = 0; i < dimensions; i++) shape.unshift(cursor.u64(`the shape of ${label}`));
  const typeId = cursor.u32(`the type of ${label}`);
  const offset = cursor.u64(`the offset of ${label}`);
  const type = quantisationById(typeId);
  if (type === undefined) {
    throw new HeadscopeError("unsupported", `${path}: ${label} has the type ${typeLabel(typeId)}, which is not read`, {
      remedy: `take a file in one of ${QUANTISATIONS.map((known) => known.name).join(", ")}`,
    });
  }
  const elements = shape.reduce((product, length) => product * length, 1);
  if (!Number.isSafeInteger(elements) || elements < 1) {
    throw corrupt(path, `${label} has the impossible shape [${shape.join(", ")}]`);
  }
  const row = shape.at(-1)!;
  if (row % type.elements !== 0) {
    throw corrupt(path, `${label} has rows of ${row}; ${type.name} needs a multiple of ${type.elements}`);
  }
  return { name, shape, type: type.name, bytes: (elements / type.elements) * type.bytes, offset };
}

/** Every tensor inside the file, aligned, and none over another. */
function place(
  tensors: PlacedTensor[],
  { path, size, dataStart, alignment }: { path: string; size: number; dataStart: number; alignment: number },
) {
  const placed = tensors.map((tensor) => {
    if (tensor.offset % alignment !== 0) {
      throw corrupt(
        path,
        `tensor "${tensor.name}" begins at ${tensor.offset}, no multiple of the alignment ${alignment}`,
      );
    }
    const offset = dataStart + tensor.offset;
    if (offset + tensor.bytes > size) {
      const extent = `bytes ${offset} to ${offset + tensor.bytes}`;
      throw corrupt(path, `tensor "${tensor.name}" should fill ${extent}, and the file has ${size}`);
    }
    return { ...tensor, offset };
  });
  const inOrder = [...placed].sort((a, b) => a.offset - b.offset);
  for (let i = 1; i < inOrder.length; i++) {
    const [before, after] = [inOrder[i - 1]!, inOrder[i]!];
    if (before.offset + before.bytes > after.offset) {
      throw corrupt(path, `tensors "${before.name}" and "${after.name}" overlap at byte ${after.offset}`);
    }
  }
  return placed;
}

/**
 * Parses a GGUF header.
 * @param prefix the first bytes of the file, from its magic number on
 * @param size length of the whole file in bytes
 * @throws MoreBytes when the header goes on behind the prefix; HeadscopeError "corrupt" or "unsupported"
 */
export function parseGgufHeader(prefix: Uint8Array, size: number, path: string): GgufHeader {
  const cursor = new Cursor(prefix, size, path);
  const version = cursor.u32("the version");
  if (version !== 2 && version !== 3) {
    const kind = (version & 0xffff) === 0 ? "big-endian" : `of version ${version}`;
    throw new HeadscopeError(
      "unsupported",
      `${path} is a GGUF file ${kind}; versions 2 and 3, little-endian, are read`,
      { remedy: "convert it with a current llama.cpp" },
    );
  }
  const tensorCount = cursor.count("the tensor count", 8 + 4 + 8 + 4 + 8, GGUF_HEADER.tensors);
  const metadata = readMetadata(cursor, cursor.count("the metadata count", 8 + 4 + 1, GGUF_HEADER.keys));
  if (Number(metadata["split.count"] ?? 1) > 1) {
    throw new HeadscopeError("unsupported", `${path} is one of ${metadata["split.count"]} parts of a model`, {
      remedy: "join them with llama.cpp's gguf-split --merge",
    });
  }
  const alignment = metadata["general.alignment"] ?? 32;
  if (typeof alignment !== "number" || alignment < 8 || alignment > 2 ** 20 || alignment % 8 !== 0) {
    throw corrupt(path, `general.alignment is ${String(alignment)}; expected a multiple of 8`);
  }
  const tensors: PlacedTensor[] = [];
  const names = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    const tensor = readTensorInfo(cursor, `${i + 1} of ${tensorCount}`);
    if (names.has(tensor.name)) throw corrupt(path, `tensor "${tensor.name}" stands twice`);
    names.add(tensor.name);
    tensors.push(tensor);
  }
  const dataStart = Math.ceil(cursor.at / alignment) * alignment;
  const placed = place(tensors, { path, size, dataStart, alignment });
  return { metadata, tensors: new Map(placed.map((tensor) => [tensor.name, tensor])) };
}
