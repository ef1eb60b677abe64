import type { Parts, Piece } from "./family.ts";
import { pieceRows, tensorRows } from "./parts.ts";

/** Rows of a part that a tensor holds. */
export interface PartRows {
  readonly part: string;
  /** First of the part's rows. */
  readonly start: number;
  readonly piece: Piece;
}

/** A tensor of a checkpoint with what of the engine's parts lies in it. */
export interface PartTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly shares: PartRows[];
}

/** The tensors that hold the parts, in the parts' order: the way back from `Family.parts`. */
export function tensorsOf(parts: Parts): PartTensor[] {
  const tensors = new Map<string, PartTensor>();
  for (const [part, pieces] of Object.entries(parts)) {
    let start = 0;
    for (const piece of pieces) {
      const { tensor: name, shape } = piece;
      const tensor = tensors.get(name) ?? { name, shape, shares: [] };
      tensor.shares.push({ part, start, piece });
      tensors.set(name, tensor);
      start += pieceRows(piece);
    }
  }
  return [...tensors.values()];
}

/** Tells whether a tensor's pieces cover all its rows; OPT's positions leave the first two to padding. */
export function isCovered({ shares }: PartTensor): boolean {
  const rows = new Set<number>();
  for (const { piece } of shares) for (let i = 0; i < pieceRows(piece); i++) rows.add(rowOf(piece, i));
  return rows.size === tensorRows(shares[0]!.piece);
}

/**
 * Writes a piece back into its tensor, undoing what reading does to it.
 * @param values the piece's rows as the part has them
 * @param tensor row-major in the piece's shape
 */
export function placePiece(piece: Piece, values: Float32Array, tensor: Float32Array): void {
  const [rows, count] = [pieceRows(piece), tensorRows(piece)];
  const width = values.length / rows;
  const add = piece.add ?? 0;
  for (let i = 0; i < rows; i++) {
    const row = rowOf(piece, i);
    for (let column = 0; column < width; column++) {
      const index = piece.transpose ? column * count + row : row * width + column;
      tensor[index] = values[i * width + column]! - add;
    }
  }
}

/** The row of the tensor that is row `i` of the piece. */
function rowOf({ rows, permute = "none", ...piece }: Piece, i: number): number {
  if (permute === "none") return rows?.[i] ?? i;
  const dimensions = pieceRows({ ...piece, ...(rows ? { rows } : {}) }) / permute.rotaryHeads;
  const [head, dimension] = [Math.floor(i / dimensions), i % dimensions];
  const half = dimensions / 2;
  const from = head * dimensions + (dimension < half ? 2 * dimension : 2 * (dimension - half) + 1);
  return rows?.[from] ?? from;
}
