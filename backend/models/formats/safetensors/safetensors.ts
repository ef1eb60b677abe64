/**
 * Safetensors files, read and written whole (activations, masks, toy checkpoints) or described for range reads.
 * Format: 8 bytes length of a JSON header, the header, then the tensors without gaps (safetensors' README). Own code:
 * no maintained package of the registry reads and writes it in Node.
 */
import { HeadscopeError } from "../../../common/errors.ts";
import { type ByteSource, corrupt, openBytes } from "../bytes.ts";
import { bf16ToF32, f16ToF32, toBf16, toF16 } from "../half.ts";
import { jsonFault } from "../json-file.ts";

/** Bytes of one element by dtype, for every dtype that headscope reads and writes. */
const DTYPE_BYTES = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1, I8: 1, BOOL: 1 } as const;
export type Dtype = keyof typeof DTYPE_BYTES;
/** Bytes of one element of the format's other dtypes, which are described and not read; it goes on to gain more of them. */
const UNREAD_BYTES = { F8_E4M3: 1, F8_E5M2: 1, F8_E8M0: 1, I16: 2, U16: 2, U32: 4, U64: 8, C64: 8 } as const;
const ALL_BYTES: Readonly<Record<string, number>> = { ...DTYPE_BYTES, ...UNREAD_BYTES };

/** Elements of a tensor: F16 and BF16 are widened to f32 on reading and rounded (ties to even) on writing; BOOL is 0 or 1. */
export type TensorData = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Int8Array;

export interface SafeTensor {
  readonly dtype: Dtype;
  /** Row-major; [] is a scalar. */
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** A tensor's place in a safetensors file. */
export interface SafetensorsEntry {
  /** One of `Dtype`, or another that the format has, now or some day. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** First byte, from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

/** Longest JSON header in bytes; the format's own limit. */
const LONGEST_HEADER = 100_000_000;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function parseEntry(
  path: string,
  name: string,
  value: unknown,
  { dataStart, dataBytes }: { dataStart: number; dataBytes: number },
): SafetensorsEntry {
  const label = `tensor "${name}"`;
  if (!isObject(value)) throw corrupt(path, `${label} has no description`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string" || !/^[A-Z][A-Z0-9_]{0,31}$/.test(dtype)) {
    const names = Object.keys(ALL_BYTES).join(", ");
    throw corrupt(path, `${label} has the dtype ${JSON.stringify(dtype)?.slice(0, 40)}; expected one such as ${names}`);
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) throw corrupt(path, `${label} has no valid shape`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize) || offsets[0]! > offsets[1]!) {
    throw corrupt(path, `${label} has no valid data_offsets`);
  }
  const [begin, end] = offsets as [number, number];
  if (end > dataBytes) {
    throw corrupt(path, `${label} ends at byte ${dataStart + end}, and the file has ${dataStart + dataBytes}`);
  }
  const each = Object.hasOwn(ALL_BYTES, dtype) ? ALL_BYTES[dtype]! : undefined; // of another, elements may share a byte
  const expected = each === undefined ? end - begin : shape.reduce((product: number, length) => product * length, each);
  if (expected !== end - begin) {
    const need = `${dtype} of shape [${shape.slice(0, 8).join(", ")}] needs ${expected} bytes`;
    throw corrupt(path, `${label}: ${need}, found ${end - begin}`);
  }
  return { dtype, shape, offset: dataStart + begin, bytes: end - begin };
}

/** Tensors must fill the data without a gap or an overlap, as the format demands. */
function checkTiling(path: string, tensors: Map<string, SafetensorsEntry>, dataStart: number, size: number): void {
  let end = dataStart;
  let last = "the header";
  const inOrder = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes);
  for (const [name, tensor] of inOrder) {
    if (tensor.offset < end) throw corrupt(path, `tensors "${last}" and "${name}" overlap at byte ${tensor.offset}`);
    if (tensor.offset > end) {
      throw corrupt(path, `${tensor.offset - end} bytes before tensor "${name}" belong to none (after ${last})`);
    }
    end += tensor.bytes;
    last = name;
  }
  if (end !== size) throw corrupt(path, `its tensors end at byte ${end}, and the file has ${size}`);
}

function parseHeader(path: string, text: string): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (cause) {
    throw corrupt(path, `its header is not JSON (${(cause as Error).message.slice(0, 120)})`, cause);
  }
  if (!isObject(header)) throw corrupt(path, "its header is no JSON object");
  const fault = jsonFault(text);
  if (fault !== undefined) throw corrupt(path, `in its header ${fault}`);
  return header;
}

/** A header's bytes and what is known of its file. */
interface HeaderBytes {
  readonly path: string;
  /** Bytes of the file. */
  readonly size: number;
  readonly header: Uint8Array;
}

/** Header of a safetensors file, read before its tensors. */
export interface SafetensorsHeader {
  metadata: Record<string, string>;
  tensors: Map<string, SafetensorsEntry>;
}

/** Bytes of a header, from the first eight of its file. @throws HeadscopeError `corrupt` where it can't have so many */
export function safetensorsHeaderBytes(path: string, size: number, start: Uint8Array): number {
  if (size < 10) throw corrupt(path, `a safetensors file has 10 bytes or more, found ${size}`);
  const length = Number(new DataView(start.buffer, start.byteOffset).getBigUint64(0, true));
  if (length > size - 8 || length > LONGEST_HEADER) {
    const most = Math.min(size - 8, LONGEST_HEADER);
    throw corrupt(path, `its header claims ${length} bytes, and ${most} are the most there can be`);
  }
  return length;
}

/** Checks a header that was read. @throws HeadscopeError `corrupt`, naming file, tensor, expected and found */
export function parseSafetensorsHeader({ path, size, header }: HeaderBytes): SafetensorsHeader {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
  } catch (cause) {
    throw corrupt(path, "its header is not UTF-8", cause);
  }
  const { __metadata__: strings = {}, ...entries } = parseHeader(path, text);
  if (!isObject(strings) || Object.values(strings).some((value) => typeof value !== "string")) {
    throw corrupt(path, "its __metadata__ holds something else than strings");
  }
  const dataStart = 8 + header.length;
  const tensors = new Map(
    Object.entries(entries).map(([name, value]) => [
      name,
      parseEntry(path, name, value, { dataStart, dataBytes: size - dataStart }),
    ]),
  );
  checkTiling(path, tensors, dataStart, size);
  return { metadata: strings as Record<string, string>, tensors };
}

/**
 * Reads and checks the header of an open safetensors file.
 * @throws HeadscopeError "corrupt", naming file, tensor, expected and found
 */
export async function readSafetensorsHeader(source: ByteSource): Promise<SafetensorsHeader> {
  const { path, size } = source;
  const start = size < 10 ? new Uint8Array(8) : await source.read(0, 8);
  const length = safetensorsHeaderBytes(path, size, start);
  return parseSafetensorsHeader({ path, size, header: await source.read(8, length) });
}

const isRead = (dtype: string): dtype is Dtype => Object.hasOwn(DTYPE_BYTES, dtype);

function unreadDtype(path: string, name: string, dtype: string): HeadscopeError {
  const names = Object.keys(DTYPE_BYTES).join(", ");
  return new HeadscopeError("unsupported", `${path}: tensor "${name}" is ${dtype}; ${names} are read`, {
    remedy: "convert it to one of them",
  });
}

/** Elements from little-endian bytes at the start of a buffer. */
export function decodeTensor(dtype: Dtype, bytes: Uint8Array<ArrayBuffer>): TensorData {
  switch (dtype) {
    case "F64":
      return new Float64Array(bytes.buffer);
    case "F32":
      return new Float32Array(bytes.buffer);
    case "F16":
      return f16ToF32(bytes);
    case "BF16":
      return bf16ToF32(bytes);
    case "I64":
      return new BigInt64Array(bytes.buffer);
    case "I32":
      return new Int32Array(bytes.buffer);
    case "I8":
      return new Int8Array(bytes.buffer);
    case "U8":
    case "BOOL":
      return bytes;
  }
}

/**
 * Reads a whole safetensors file.
 * @param check sees the header, and may throw, before memory is taken for any tensor
 * @throws HeadscopeError "missing" without the file, "corrupt" for a damaged one. Infinities and NaN pass: a cache of
 *   masked attention scores holds them.
 */
export async function readSafetensors(
  path: string,
  check?: (header: SafetensorsHeader) => void,
): Promise<{ metadata: Record<string, string>; tensors: Map<string, SafeTensor> }> {
  const source = await openBytes(path);
  try {
    const header = await readSafetensorsHeader(source);
    check?.(header);
    const { metadata, tensors: entries } = header;
    const tensors = new Map<string, SafeTensor>();
    for (const [name, { dtype, shape, offset, bytes }] of entries) {
      if (!isRead(dtype)) throw unreadDtype(path, name, dtype);
      tensors.set(name, { dtype, shape, data: decodeTensor(dtype, await source.read(offset, bytes)) });
    }
    return { metadata, tensors };
  } finally {
    await source.close();
  }
}

function encodeData(name: string, { dtype, shape, data }: SafeTensor): Uint8Array {
  const elements = shape.reduce((product, length) => product * length, 1);
  if (data.length !== elements) {
    throw new RangeError(
      `tensor "${name}" of shape [${shape.join(", ")}] holds ${data.length} elements, not ${elements}`,
    );
  }
  if ((dtype === "F16" || dtype === "BF16") && (data instanceof Float32Array || data instanceof Float64Array)) {
    const round = dtype === "F16" ? toF16 : toBf16;
    const words = new Uint16Array(data.length); // filled in a loop: `from` with a function takes ten times as long
    for (let i = 0; i < data.length; i++) words[i] = round(data[i]!);
    return new Uint8Array(words.buffer);
  }
  if (data.BYTES_PER_ELEMENT !== DTYPE_BYTES[dtype] || dtype === "F16" || dtype === "BF16") {
    throw new TypeError(`tensor "${name}" can't be written as ${dtype} from ${data.constructor.name}`);
  }
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/**
 * Encodes a safetensors file part by part, for `writeFileAtomic`: the header first, then one part a tensor.
 * Tensors are laid widest element first, so that each is aligned to its elements (as the reference writer does).
 * @throws RangeError or TypeError when data and shape or dtype disagree
 */
export function* encodeSafetensors(
  tensors: Readonly<Record<string, SafeTensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Generator<Uint8Array> {
  const entries = Object.entries(tensors).sort(
    ([, a], [, b]) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype], // stable: equal widths keep their order
  );
  const header = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) header.set("__metadata__", metadata);
  let end = 0;
  for (const [name, { dtype, shape }] of entries) {
    if (name === "__metadata__") throw new RangeError('no tensor can be called "__metadata__"');
    const bytes = shape.reduce((product, length) => product * length, DTYPE_BYTES[dtype] as number);
    header.set(name, { dtype, shape, data_offsets: [end, end + bytes] });
    end += bytes;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const padded = Math.ceil(json.length / 8) * 8;
  const start = new Uint8Array(8 + padded).fill(0x20); // the format pads with spaces
  new DataView(start.buffer).setBigUint64(0, BigInt(padded), true);
  start.set(json, 8);
  yield start;
  for (const [name, tensor] of entries) yield encodeData(name, tensor);
}
