import { HeadscopeError } from "../common/errors.ts";
import { kernelLibrary } from "./kernels.ts";

/** A small float: a sign, bits of the exponent and of the mantissa. */
export interface Minifloat {
  readonly exponent: number;
  readonly mantissa: number;
  /** Exponents are held with so much more. */
  readonly bias: number;
  /** Code of the largest finite number, without a sign. */
  readonly largest: number;
}

/** Every minifloat. E4M3 has no infinity and one code that is no number; E5M2's infinities are not used; the others are all numbers. */
export const MINIFLOATS = {
  E4M3: { exponent: 4, mantissa: 3, bias: 7, largest: 0x7e },
  E5M2: { exponent: 5, mantissa: 2, bias: 15, largest: 0x7b },
  E3M2: { exponent: 3, mantissa: 2, bias: 3, largest: 0x1f },
  E2M3: { exponent: 2, mantissa: 3, bias: 1, largest: 0x1f },
  E2M1: { exponent: 2, mantissa: 1, bias: 1, largest: 0x07 },
} as const satisfies Readonly<Record<string, Minifloat>>;
/** One of `MINIFLOATS`. */
export type MinifloatName = keyof typeof MINIFLOATS;

/** Codes for whole numbers 0 … 2^bits - 1 between the least and the largest of a group. */
export interface Integers {
  readonly book: "integers";
  readonly bits: 2 | 3 | 4 | 6 | 8;
}

/** Codes for 2^bits levels, ascending, of numbers that are moved and scaled to [-1, 1]. */
export interface Levels {
  readonly book: "levels";
  readonly bits: 2 | 3 | 4;
  /** [2^bits] */
  readonly keys: Float32Array;
  readonly values: Float32Array;
}

/** Codes for small floats, scaled so that the largest of a group is the largest float. */
export interface Floats {
  readonly book: "floats";
  readonly format: MinifloatName;
}

/** A way to hold the rows of a page in codes. */
export interface Coding {
  readonly codes: Integers | Levels | Floats;
  /** Consecutive tokens of a channel that share a scale, of the keys; a page's rows are a multiple. */
  readonly keyGroup: number;
  /** Consecutive channels of a token that share one, of the values. */
  readonly valueGroup: number;
  /** Numbers at either end of a group that are held as they are; default 0. */
  readonly outliers?: { readonly keys: number; readonly values: number };
  /** First rows of the page that are held as they are; default 0. */
  readonly firstRows?: number;
  /** Scales and least numbers are held in half precision, else in float32. */
  readonly halfScales: boolean;
  /** Keys lie there before this rotation, and are turned as they are read. */
  readonly rotation?: KeyRotation;
}

/** The angles by which a model turns keys, for the kernels. The caller disposes it; pages that use it keep it. */
export class KeyRotation {
  readonly id: number;

  /** @param rotary leading numbers of a key that are turned, halves paired @param turns cosines, then sines [positions, 2, rotary / 2] */
  constructor(rotary: number, turns: Float32Array) {
    this.id = kernelLibrary().makeRotation(rotary, turns);
  }

  dispose(): void {
    kernelLibrary().freeRotation(this.id);
  }
}

const BOOKS = ["integers", "levels", "floats"] as const;

/** Bits of a number. */
export function bitsOf(codes: Coding["codes"]): number {
  if (codes.book !== "floats") return codes.bits;
  const { exponent, mantissa } = MINIFLOATS[codes.format];
  return 1 + exponent + mantissa;
}

/**
 * Makes a page of codes of another page.
 * @param positions of its rows, where keys lie before a rotation
 * @returns the new page's number
 * @throws HeadscopeError (usage) for what can't be
 */
export function codePage(page: number, coding: Coding, positions: Int32Array): number {
  const { codes, keyGroup, valueGroup, outliers, firstRows = 0, halfScales, rotation } = coding;
  const { mantissa, bias, largest } =
    codes.book === "floats" ? MINIFLOATS[codes.format] : { mantissa: 0, bias: 0, largest: 0 };
  // In the order of the enum in native/attention/ops.cc.
  const settings = [
    ...[bitsOf(codes), BOOKS.indexOf(codes.book), mantissa, bias, largest, keyGroup, valueGroup],
    ...[outliers?.keys ?? 0, outliers?.values ?? 0, firstRows, Number(halfScales), rotation?.id ?? -1],
  ];
  const levels = codes.book === "levels" ? Float32Array.of(...codes.keys, ...codes.values) : new Float32Array(0);
  try {
    return kernelLibrary().codePage(page, Int32Array.from(settings), levels, positions);
  } catch (cause) {
    if (cause instanceof HeadscopeError) throw cause;
    throw new HeadscopeError("usage", cause instanceof Error ? cause.message : String(cause), {
      remedy: "docs/kernels.md says what a page of codes can be",
      cause,
    });
  }
}
