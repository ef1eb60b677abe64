import { HeadscopeError } from "../../errors.ts";
import type { ModelConfig } from "../config.ts";
import { missingTensor } from "../formats/bytes.ts";
import type { Checkpoint, NarrowRows } from "../formats/checkpoint.ts";

/** What is done to a tensor's rows on reading: nothing, or GGUF's rotary interleaving undone over so many heads. */
export type Permutation = "none" | { readonly rotaryHeads: number };

/** One tensor of a part. */
export interface Piece {
  readonly tensor: string;
  /** Shape that the config demands, row-major. */
  readonly shape: readonly number[];
  /** Default "none". */
  readonly permute?: Permutation;
}

/** A matrix or vector of the engine: its pieces, one under the other along rows. */
export type Part = readonly Piece[];

/**
 * A checkpoint family: how its metadata gives a config and its tensors the engine's parts. Data and names only: no
 * family holds forward code. Parts (matrices are [out, in], H query heads, G key-value heads, l a layer):
 * - `embed` [d_vocab, d_model]; `unembed` [d_vocab, d_model], absent when tied; `ln_final.w` [d_model]
 * - `blocks.l.ln1.w`, `blocks.l.ln2.w` [d_model] (`.b` for a LayerNorm's bias)
 * - `blocks.l.attn.qkv` [(H + 2G) * d_head, d_model]: query heads, then key heads, then value heads, with rotary
 *   dimensions in half-split order; `blocks.l.attn.o` [d_model, H * d_head]; `…qkv_bias` and `…o_bias` where there are
 * - `blocks.l.mlp.in` [2 * d_mlp, d_model]: gate rows, then linear rows; `blocks.l.mlp.out` [d_model, d_mlp]
 */
export interface Family {
  readonly name: string;
  /** Names of architectures that the family covers, as checkpoints spell them. */
  readonly architectures: readonly string[];
  /** The model's shape. Throws HeadscopeError "missing", "mismatch" or "unsupported". */
  config(checkpoint: Checkpoint): ModelConfig;
  /** Where each part of the engine comes from. */
  parts(config: ModelConfig, checkpoint: Checkpoint): Readonly<Record<string, Part>>;
}

const shapeText = (shape: readonly number[]) => `[${shape.join(", ")}]`;

/**
 * Checks that every tensor of every part is there in the shape that the config demands.
 * @throws HeadscopeError "missing" or "mismatch", naming file, tensor, expected and found
 */
export function checkParts(checkpoint: Checkpoint, parts: Readonly<Record<string, Part>>): void {
  for (const { tensor, shape } of Object.values(parts).flat()) {
    const found = checkpoint.tensors.get(tensor);
    if (found === undefined) throw missingTensor(checkpoint.path, tensor);
    if (found.shape.length !== shape.length || found.shape.some((length, axis) => length !== shape[axis])) {
      const disagree = `is ${shapeText(found.shape)}, and the config expects ${shapeText(shape)}`;
      throw new HeadscopeError("mismatch", `${checkpoint.path}: tensor "${tensor}" ${disagree}`, {
        remedy: "take weights and config from the same model",
      });
    }
  }
}

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

/** Rows of a piece after its permutation; a vector counts as a column. */
function permuted<T extends Float32Array | Uint8Array>(piece: Piece, rows: T): T {
  const { permute = "none", shape } = piece;
  return permute === "none" ? rows : undoInterleaving(rows, shape[0]!, permute.rotaryHeads);
}

/** Reads a part as f32, its pieces one under the other. Throws as `Checkpoint.read` does. */
export async function readPart(checkpoint: Checkpoint, part: Part): Promise<Float32Array> {
  if (part.length === 1) return permuted(part[0]!, await checkpoint.read(part[0]!.tensor));
  const elements = part.map(({ shape }) => shape.reduce((product, length) => product * length, 1));
  const out = new Float32Array(elements.reduce((sum, count) => sum + count, 0));
  let at = 0;
  for (const [i, piece] of part.entries()) {
    out.set(permuted(piece, await checkpoint.read(piece.tensor)), at);
    at += elements[i]!;
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
 * @returns undefined when a piece is stored as plain floats
 */
export async function readPartNarrow(checkpoint: Checkpoint, part: Part): Promise<NarrowRows | undefined> {
  const pieces: NarrowRows[] = [];
  for (const piece of part) {
    const rows = await checkpoint.readNarrow(piece.tensor);
    if (rows === undefined) return undefined;
    pieces.push({
      ...rows,
      codes: permuted(piece, rows.codes),
      scale: permuted(piece, rows.scale),
      ...(rows.min === undefined ? {} : { min: permuted(piece, rows.min) }),
    });
  }
  if (pieces.length === 1) return pieces[0];
  // The highest zero fits all: 4- to 6-bit codes (under 64) moved up by at most 128 stay below 256.
  const zero = Math.max(...pieces.map((rows) => rows.zero));
  const block = Math.min(...pieces.map((rows) => rows.block));
  const withMin = pieces.some((rows) => rows.min !== undefined);
  const aligned = pieces.map((rows) => alignTo(rows, zero, block, withMin));
  const join = <T extends Float32Array | Uint8Array>(out: T, parts: T[]): T => {
    let at = 0;
    for (const values of parts) {
      out.set(values, at);
      at += values.length;
    }
    return out;
  };
  const codes = aligned.map((rows) => rows.codes);
  const scales = aligned.map((rows) => rows.scale);
  const count = scales.reduce((sum, values) => sum + values.length, 0);
  const joined = {
    codes: join(new Uint8Array(count * block), codes),
    zero,
    scale: join(new Float32Array(count), scales),
    block,
  };
  return withMin
    ? {
        ...joined,
        min: join(
          new Float32Array(count),
          aligned.map((rows) => rows.min!),
        ),
      }
    : joined;
}
