/** A form of packed matrices: tiles of 16 rows by 32 inputs. */
export interface PackedFormat {
  readonly name: string;
  /** Bits of a weight; formats of 16 and 32 hold plain numbers. */
  readonly bits: 4 | 8 | 16 | 32;
  /** Inputs that share a scale; absent where there is none. */
  readonly block?: 16 | 32;
  /** Scales and minima are kept in half precision, else in float32. */
  readonly halfScales?: boolean;
  readonly minima?: boolean;
  /** Code of 4 bits that stands for 0, default 0; codes of 8 bits may have any, and are held less it. */
  readonly zero?: number;
  /** Plain numbers of 16 bits are bfloat16, else of half precision. */
  readonly brain?: boolean;
  /** Types of GGUF files whose weights it holds without a change. */
  readonly holds: readonly string[];
  /** The one of them whose rows it takes as they lie in a file; the others come as codes with scales. */
  readonly rowsOf?: string;
}

/** Every format: the one list. The kernels know of one what `formatCode` says. The last one holds codes of any types side by side. */
export const FORMATS = [
  { name: "f32", bits: 32, holds: ["F32"], rowsOf: "F32" },
  { name: "f16", bits: 16, holds: ["F16"], rowsOf: "F16" },
  { name: "bf16", bits: 16, brain: true, holds: ["BF16"], rowsOf: "BF16" },
  { name: "q4_0", bits: 4, block: 32, halfScales: true, zero: 8, holds: ["Q4_0"], rowsOf: "Q4_0" },
  { name: "q4_1", bits: 4, block: 32, halfScales: true, minima: true, holds: ["Q4_1"], rowsOf: "Q4_1" },
  { name: "q8_0", bits: 8, block: 32, halfScales: true, holds: ["Q8_0", "Q5_0"], rowsOf: "Q8_0" },
  { name: "q8_1", bits: 8, block: 32, halfScales: true, minima: true, holds: ["Q5_1"] },
  { name: "q2_k", bits: 4, block: 16, minima: true, holds: ["Q2_K"] },
  { name: "q3_k", bits: 4, block: 16, zero: 4, holds: ["Q3_K"] },
  { name: "q4_k", bits: 4, block: 32, minima: true, holds: ["Q4_K"] },
  { name: "q5_k", bits: 8, block: 32, minima: true, holds: ["Q5_K"] },
  { name: "q6_k", bits: 8, block: 16, holds: ["Q6_K"] },
  { name: "mixed", bits: 8, block: 16, minima: true, holds: [] },
] as const satisfies readonly PackedFormat[]; // biome-ignore format: a table

export type FormatName = (typeof FORMATS)[number]["name"];

/** Rows and inputs of a tile. */
export const TILE = { rows: 16, inputs: 32 } as const;

const byName = new Map<string, PackedFormat>(FORMATS.map((format) => [format.name, format]));

/** The format of a name. */
export function formatOf(name: FormatName): PackedFormat {
  return byName.get(name)!;
}

/** A format as the kernels are told of it: `formatOf` of native/format.h reads the number. */
export function formatCode({ bits, block, zero, halfScales, minima, brain }: PackedFormat): number {
  const has = (yes: boolean | undefined, bit: number): number => (yes ? 2 ** bit : 0);
  return bits + 2 ** 8 * (block ?? 0) + 2 ** 16 * (zero ?? 0) + has(halfScales, 24) + has(minima, 25) + has(brain, 26);
}

/** The number for float32 matrices in row order, which are not packed: [out, in] as the engine holds them. */
export const ROW_ORDER: number = 32 + 2 ** 27;

/** Bytes of a tile. */
export function tileBytes({ bits, block, halfScales, minima }: PackedFormat): number {
  const scales = block ? (TILE.inputs / block) * TILE.rows * (halfScales ? 2 : 4) : 0;
  return scales * (minima ? 2 : 1) + (bits * TILE.rows * TILE.inputs) / 8;
}

/** Bytes of a matrix in a format. @param shape [out, in] */
export function packedBytes(name: FormatName, [rows, inputs]: readonly [number, number]): number {
  return Math.ceil(rows / TILE.rows) * Math.ceil(inputs / TILE.inputs) * tileBytes(formatOf(name));
}

/**
 * The smallest format that holds weights of all these types without a change; undefined where none does.
 * @param types by ggml's names, at least one
 */
export function formatHolding(...types: string[]): FormatName | undefined {
  const own = types.map((type) => FORMATS.find(({ holds }) => (holds as readonly string[]).includes(type)));
  const able = FORMATS.filter((format) => own.every((other) => other !== undefined && canHold(format, other)));
  return able.sort((a, b) => tileBytes(a) - tileBytes(b))[0]?.name;
}

/** Says that weights of another format can be written in this one, each with its own code, scale and minimum. */
function canHold(format: PackedFormat, other: PackedFormat): boolean {
  if (format === other) return true;
  if (format.block === undefined || other.block === undefined) return false;
  const zeros = format.bits === 8 || (format.zero ?? 0) === (other.zero ?? 0);
  const scales = format.block <= other.block && (!format.halfScales || other.halfScales === true);
  return zeros && scales && format.bits >= other.bits && (format.minima === true || !other.minima);
}
