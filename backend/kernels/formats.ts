/** A form of packed matrices: tiles of 16 rows by 32 inputs. */
export interface PackedFormat {
  readonly name: string;
  /** Bits of a weight; formats of 16 and 32 hold plain numbers. */
  readonly bits: 4 | 8 | 16 | 32;
  /** Inputs that share a scale; 0 where there is none. */
  readonly block: 0 | 16 | 32;
  /** Scales and minima are kept in half precision, else in float32. */
  readonly halfScales: boolean;
  readonly minima: boolean;
  /** Code that stands for 0; 8-bit codes may have any, and are held less it. */
  readonly zero: number | undefined;
  /** Types of GGUF files whose weights it holds without a change. */
  readonly holds: readonly string[];
  /** Its rows are packed from those of a file as they are, else from codes with scales. */
  readonly fromFile: boolean;
}

/** Every format, by the number that the kernels know it by: the same list as FORMATS of native/format.h. */
export const FORMATS = [
  { name: "f32", bits: 32, block: 0, halfScales: false, minima: false, zero: 0, holds: ["F32"], fromFile: true },
  { name: "f16", bits: 16, block: 0, halfScales: false, minima: false, zero: 0, holds: ["F16"], fromFile: true },
  { name: "bf16", bits: 16, block: 0, halfScales: false, minima: false, zero: 0, holds: ["BF16"], fromFile: true },
  { name: "q4_0", bits: 4, block: 32, halfScales: true, minima: false, zero: 8, holds: ["Q4_0"], fromFile: true },
  { name: "q4_1", bits: 4, block: 32, halfScales: true, minima: true, zero: 0, holds: ["Q4_1"], fromFile: true },
  { name: "q8_0", bits: 8, block: 32, halfScales: true, minima: false, zero: undefined, holds: ["Q8_0", "Q5_0"], fromFile: true },
  { name: "q8_1", bits: 8, block: 32, halfScales: true, minima: true, zero: undefined, holds: ["Q5_1"], fromFile: false },
  { name: "q2_k", bits: 4, block: 16, halfScales: false, minima: true, zero: 0, holds: ["Q2_K"], fromFile: false },
  { name: "q3_k", bits: 4, block: 16, halfScales: false, minima: false, zero: 4, holds: ["Q3_K"], fromFile: false },
  { name: "q4_k", bits: 4, block: 32, halfScales: false, minima: true, zero: 0, holds: ["Q4_K"], fromFile: false },
  { name: "q5_k", bits: 8, block: 32, halfScales: false, minima: true, zero: undefined, holds: ["Q5_K"], fromFile: false },
  { name: "q6_k", bits: 8, block: 16, halfScales: false, minima: false, zero: undefined, holds: ["Q6_K"], fromFile: false },
] as const satisfies readonly PackedFormat[]; // biome-ignore format: a table

export type FormatName = (typeof FORMATS)[number]["name"];

/** Rows and inputs of a tile. */
export const TILE = { rows: 16, inputs: 32 } as const;

/** A format and its number. */
export function formatOf(name: FormatName): PackedFormat & { readonly number: number } {
  const number = FORMATS.findIndex((format) => format.name === name);
  return { ...FORMATS[number]!, number };
}

/** Bytes of a tile. */
export function tileBytes({ bits, block, halfScales, minima }: PackedFormat): number {
  const scales = block === 0 ? 0 : (TILE.inputs / block) * TILE.rows * (halfScales ? 2 : 4);
  return scales * (minima ? 2 : 1) + (bits * TILE.rows * TILE.inputs) / 8;
}

/** The format that holds a type of GGUF files, by ggml's name for it; undefined where none does. */
export function formatHolding(type: string): FormatName | undefined {
  return FORMATS.find(({ holds }) => (holds as readonly string[]).includes(type))?.name;
}
