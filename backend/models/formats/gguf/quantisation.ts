import { corrupt } from "../bytes.ts";
import type { NarrowRows } from "../checkpoint.ts";
import { bf16ToF32, f16ToF32, firstNonFinite16, halvesOf } from "../half.ts";
import * as blocks from "./blocks.ts";

/** Layout of one tensor type in a file. Either `floats` (plain numbers) or `narrow` (blocks of small codes) is there. */
export interface Quantisation {
  readonly name: string;
  /** ggml's number for the type. */
  readonly id: number;
  /** Weights in a block. */
  readonly elements: number;
  /** Bytes of a block. */
  readonly bytes: number;
  /** Places in a block, in bytes, of the 16-bit numbers that can be a NaN or an infinity, of types that are held as they are stored. */
  readonly halves?: readonly number[];
  readonly floats?: (bytes: Uint8Array<ArrayBuffer>) => Float32Array<ArrayBuffer>;
  readonly narrow?: {
    /** Weights that share a scale. */
    readonly block: number;
    /** Code that stands for 0 (before the minimum). */
    readonly zero: number;
    readonly hasMin: boolean;
    readonly unpack: blocks.Unpack;
  };
}

function f32(bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 2);
}

/** Every type that headscope reads, by ggml's name. */
export const QUANTISATIONS: readonly Quantisation[] = [
  { name: "F32", id: 0, elements: 1, bytes: 4, floats: f32 },
  { name: "F16", id: 1, elements: 1, bytes: 2, halves: [0], floats: f16ToF32 },
  { name: "BF16", id: 30, elements: 1, bytes: 2, halves: [0], floats: bf16ToF32 },
  { name: "Q4_0", id: 2, elements: 32, bytes: 18, halves: [0], narrow: { block: 32, zero: 8, hasMin: false, unpack: blocks.unpackQ4_0 } },
  { name: "Q4_1", id: 3, elements: 32, bytes: 20, halves: [0, 2], narrow: { block: 32, zero: 0, hasMin: true, unpack: blocks.unpackQ4_1 } },
  { name: "Q5_0", id: 6, elements: 32, bytes: 22, narrow: { block: 32, zero: 16, hasMin: false, unpack: blocks.unpackQ5_0 } },
  { name: "Q5_1", id: 7, elements: 32, bytes: 24, narrow: { block: 32, zero: 0, hasMin: true, unpack: blocks.unpackQ5_1 } },
  { name: "Q8_0", id: 8, elements: 32, bytes: 34, halves: [0], narrow: { block: 32, zero: 128, hasMin: false, unpack: blocks.unpackQ8_0 } },
  { name: "Q2_K", id: 10, elements: 256, bytes: 84, narrow: { block: 16, zero: 0, hasMin: true, unpack: blocks.unpackQ2_K } },
  { name: "Q3_K", id: 11, elements: 256, bytes: 110, narrow: { block: 16, zero: 4, hasMin: false, unpack: blocks.unpackQ3_K } },
  { name: "Q4_K", id: 12, elements: 256, bytes: 144, narrow: { block: 32, zero: 0, hasMin: true, unpack: blocks.unpackQ4_K } },
  { name: "Q5_K", id: 13, elements: 256, bytes: 176, narrow: { block: 32, zero: 0, hasMin: true, unpack: blocks.unpackQ5_K } },
  { name: "Q6_K", id: 14, elements: 256, bytes: 210, narrow: { block: 16, zero: 32, hasMin: false, unpack: blocks.unpackQ6_K } },
]; // biome-ignore format: a table

/** Types of ggml that headscope names in an error and does not read. */
const UNREAD: Readonly<Record<number, string>> = {
  9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S",
  22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0",
  35: "TQ2_0", 39: "MXFP4",
}; // biome-ignore format: a table

const byId = new Map(QUANTISATIONS.map((type) => [type.id, type]));
const byName = new Map(QUANTISATIONS.map((type) => [type.name, type]));

/** The type with ggml's number `id`, or undefined. */
export const quantisationById = (id: number): Quantisation | undefined => byId.get(id);
/** The type called `name`, or undefined. */
export const quantisationByName = (name: string): Quantisation | undefined => byName.get(name);
/** Names a type in an error, known to headscope or not. */
export const typeLabel = (id: number): string => byId.get(id)?.name ?? UNREAD[id] ?? `number ${id}`;

/**
 * Unpacks whole blocks to 8-bit codes; undefined for plain floats.
 * @param bytes blocks of `type`, row after row (no block spans two rows)
 */
export function decodeNarrow(type: Quantisation, bytes: Uint8Array): NarrowRows | undefined {
  if (type.narrow === undefined) return undefined;
  const { block, zero, hasMin, unpack } = type.narrow;
  const count = Math.floor(bytes.length / type.bytes);
  const codes = new Uint8Array(count * type.elements);
  const scale = new Float32Array(codes.length / block);
  const min = new Float32Array(hasMin ? scale.length : 0);
  unpack(bytes, count, { codes, scale, min });
  return hasMin ? { codes, zero, scale, min, block } : { codes, zero, scale, block };
}

/** The f32 weights of narrow rows: (codes - zero) * scale + min, each rounded once to f32. */
export function widen({ codes, zero, scale, min, block }: NarrowRows): Float32Array<ArrayBuffer> {
  const out = new Float32Array(codes.length);
  for (let b = 0, at = 0; b < scale.length; b++) {
    const factor = scale[b]!;
    const end = at + block;
    // Without a minimum nothing may be added: -0 + 0 would lose the sign of a zero.
    if (min === undefined) for (; at < end; at++) out[at] = (codes[at]! - zero) * factor;
    else {
      const base = min[b]!;
      for (; at < end; at++) out[at] = (codes[at]! - zero) * factor + base;
    }
  }
  return out;
}

/**
 * Checks a tensor that is held as it is stored.
 * @param stored its bytes @returns them
 * @throws HeadscopeError "corrupt" for a NaN or an infinity
 */
export function checkStored(
  path: string,
  tensor: string,
  { name, bytes, halves }: Quantisation,
  stored: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  const bits = halvesOf(stored);
  const kind = name === "BF16" ? "bf16" : "f16";
  for (const place of halves ?? []) {
    const index = firstNonFinite16(bits, kind, { stride: bytes / 2, first: place / 2 });
    if (index >= 0)
      throw corrupt(path, `tensor "${tensor}" holds no finite number in block ${Math.floor((2 * index) / bytes)}`);
  }
  return stored;
}

/** Decodes whole blocks to f32. @param bytes blocks of `type`, row after row */
export function decodeFloats(type: Quantisation, bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  return type.floats === undefined ? widen(decodeNarrow(type, bytes)!) : type.floats(bytes);
}
