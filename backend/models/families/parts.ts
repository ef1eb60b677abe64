import type { Checkpoint, NarrowRows } from "../formats/checkpoint.ts";
import type { Part, Piece } from "./family.ts";

/**
 * Undoes the interleaving of rotary dimensions: from GGUF's rows (0, d/2, 1, d/2 + 1, ...) of each head to
 * Hugging Face's order (0, 1, ...), in which dimension i is rotated with i + d/2.
 * @param rows [rows, width] in any element type
 * @returns a new array of the same type
 */
export function undoInterleaving<T extends Float32Array | Uint8Array>(rows: T, count: number, heads: number): T {
  const width = rows.length / count;
  const dimensions = count / heads;
  const half = dimensions / 2;
  const out = rows.slice() as T;
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < dimensions; i++) {
      const from = head * dimensions + (i < half ? 2 * i : 2 * (i - half) + 1);
      out.set(rows.subarray(from * width, (from + 1) * width), (head * dimensions + i) * width);
    }
  }
  return out;
}

/** [rows, columns] turned round. */
function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) out[column * rows + row] = values[row * columns + column]!;
  }
  return out;
}

/** The chosen rows of [count, width], one under the other. */
function gathered<T extends Float32Array | Uint8Array>(values: T, count: number, rows: readonly number[]): T {
  const width = values.length / count;
  const out = new (values.constructor as new (length: number) => T)(rows.length * width);
  for (const [i, row] of rows.entries()) out.set(values.subarray(row * width, (row + 1) * width), i * width);
  return out;
}

/** Rows of a tensor before any are chosen: the outputs of a matrix, the elements of a vector. */
export const tensorRows = ({ shape, transpose }: Piece): number => shape[transpose ? 1 : 0]!;

/** Rows of a piece as the part has them. */
export const pieceRows = (piece: Piece): number => piece.rows?.length ?? tensorRows(piece);

/** Rows of a piece after choice and permutation; a vector counts as a column. */
function arranged<T extends Float32Array | Uint8Array>(piece: Piece, values: T): T {
  const { permute = "none", rows } = piece;
  const selected = rows === undefined ? values : gathered(values, tensorRows(piece), rows);
  return permute === "none" ? selected : undoInterleaving(selected, pieceRows(piece), permute.rotaryHeads);
}

/** Elements of a piece. */
function pieceSize(piece: Piece): number {
  const elements = piece.shape.reduce((product, length) => product * length, 1);
  return (elements / tensorRows(piece)) * pieceRows(piece);
}

async function readPiece(checkpoint: Checkpoint, piece: Piece): Promise<Float32Array> {
  const stored = await checkpoint.read(piece.tensor);
  const { shape, transpose, add = 0 } = piece;
  const values = arranged(piece, transpose ? transposed(stored, shape[0]!, shape[1]!) : stored);
  return add === 0 ? values : values.map((value) => value + add);
}

/** Reads a part as f32, its pieces one under the other. Throws as `Checkpoint.read` does. */
export async function readPart(checkpoint: Checkpoint, part: Part): Promise<Float32Array> {
  if (part.length === 1) return readPiece(checkpoint, part[0]!);
  const sizes = part.map(pieceSize);
  const out = new Float32Array(sizes.reduce((sum, count) => sum + count, 0));
  let offset = 0;
  for (const [i, piece] of part.entries()) {
    out.set(await readPiece(checkpoint, piece), offset);
    offset += sizes[i]!;
  }
  return out;
}

/**
 * The types in which a part's weights lie in the file, by piece.
 * @returns undefined where a piece is transposed or added to, so that the file's rows are not the part's
 */
export function typesAsStored({ tensors }: Pick<Checkpoint, "tensors">, part: Part): string[] | undefined {
  if (part.some(({ transpose, add }) => transpose || add)) return undefined;
  return part.map(({ tensor }) => tensors.get(tensor)!.type);
}

/**
 * Reads a part's rows as they lie in the file, its pieces one under the other.
 * @param type that `Checkpoint.readStored` gives
 * @returns undefined unless all of it is of the type and as it is stored
 */
export async function readPartStored(
  checkpoint: Checkpoint,
  part: Part,
  type: string,
): Promise<Uint8Array | undefined> {
  if (!typesAsStored(checkpoint, part)?.every((own) => own === type)) return undefined;
  const pieces: Uint8Array[] = [];
  for (const piece of part) pieces.push(arranged(piece, (await checkpoint.readStored(piece.tensor))!));
  return joined(pieces);
}

/** Arrays of one type, one after the other; a single one as it is. */
function joined<T extends Float32Array | Uint8Array>(parts: readonly T[]): T {
  const [first] = parts as [T];
  if (parts.length === 1) return first;
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const out = new (first.constructor as new (length: number) => T)(length);
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}

/** The same weights with another code for 0 and smaller blocks: both changes are exact. */
function alignTo(rows: NarrowRows, zero: number, block: number, withMin: boolean): NarrowRows {
  const shift = zero - rows.zero;
  const codes = shift === 0 ? rows.codes : rows.codes.map((code) => code + shift);
  const times = rows.block / block;
  const repeat = (values: Float32Array) =>
    times === 1 ? values : new Float32Array(values.length * times).map((_, i) => values[Math.floor(i / times)]!);
  const scale = repeat(rows.scale);
  if (!withMin) return { codes, zero, scale, block };
  return { codes, zero, scale, min: rows.min ? repeat(rows.min) : new Float32Array(scale.length), block };
}

/**
 * Reads a part in 8 bits, its pieces one under the other. Pieces of different quantisations (a mixed K-quant file) are
 * brought to one zero and block size without changing a weight (at most the sign of a zero).
 * @returns undefined when a piece is stored as plain floats, or is transposed or added to
 */
export async function readPartNarrow(checkpoint: Checkpoint, part: Part): Promise<NarrowRows | undefined> {
  if (!typesAsStored(checkpoint, part)) return undefined;
  const pieces: NarrowRows[] = [];
  for (const piece of part) {
    const rows = await checkpoint.readNarrow(piece.tensor);
    if (rows === undefined) return undefined;
    pieces.push({
      ...rows,
      codes: arranged(piece, rows.codes),
      scale: arranged(piece, rows.scale),
      ...(rows.min === undefined ? {} : { min: arranged(piece, rows.min) }),
    });
  }
  return pieces.length === 1 ? pieces[0] : joinedRows(pieces);
}

function joinedRows(pieces: readonly NarrowRows[]): NarrowRows {
  // The highest zero fits all: 4- to 6-bit codes (under 64) moved up by at most 128 stay below 256.
  const zero = Math.max(...pieces.map((rows) => rows.zero));
  const block = Math.min(...pieces.map((rows) => rows.block));
  const withMin = pieces.some((rows) => rows.min !== undefined);
  const aligned = pieces.map((rows) => alignTo(rows, zero, block, withMin));
  return {
    codes: joined(aligned.map((rows) => rows.codes)),
    zero,
    scale: joined(aligned.map((rows) => rows.scale)),
    block,
    ...(withMin ? { min: joined(aligned.map((rows) => rows.min!)) } : {}),
  };
}
