/** 16-bit floats: to and from f32, exactly as IEEE 754 (binary16) and bfloat16 say. */

const bits = new Uint32Array(1);
const real = new Float32Array(bits.buffer);

function f16ToF32Bits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 31;
  const fraction = half & 0x3ff;
  if (exponent === 31) return sign | 0x7f800000 | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  real[0] = fraction * 2 ** -24; // subnormal or zero
  return sign | bits[0]!;
}

let table: Float32Array | undefined;

/** The f32 value of each of the 65,536 binary16 bit patterns (256 kB, built on first use). */
export function f16Table(): Float32Array {
  if (table === undefined) {
    const words = new Uint32Array(65536);
    for (let half = 0; half < 65536; half++) words[half] = f16ToF32Bits(half);
    table = new Float32Array(words.buffer);
  }
  return table;
}

/** The binary16 bit pattern nearest to a number, ties to even; too large becomes infinite. */
export function toF16(value: number): number {
  real[0] = value;
  const word = bits[0]!;
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x47800000) return sign | 0x7c00; // 65536 and more
  if (magnitude < 0x38800000) {
    // Below 2^-14 the result is a multiple of 2^-24; the scaled value is exact, so only this rounding counts.
    const scaled = Math.abs(real[0]!) * 2 ** 24;
    const floor = Math.floor(scaled);
    const rest = scaled - floor;
    return sign | (rest > 0.5 || (rest === 0.5 && floor & 1) ? floor + 1 : floor);
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

/** The bfloat16 bit pattern nearest to a number, ties to even. */
export function toBf16(value: number): number {
  real[0] = value;
  const word = bits[0]!;
  if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40; // a NaN stays one
  return ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The bfloat16 bit patterns nearest to numbers, ties to even; none of them may be a NaN. */
export function f32ToBf16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    out[i] = (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return out;
}

/** Little-endian binary16 bytes as f32. */
export function f16ToF32(bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const values = f16Table();
  const out = new Float32Array(bytes.length >> 1);
  for (let i = 0, at = 0; i < out.length; i++, at += 2) out[i] = values[bytes[at]! | (bytes[at + 1]! << 8)]!;
  return out;
}

/** Little-endian bfloat16 bytes as f32. */
export function bf16ToF32(bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const halves = halvesOf(bytes);
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < words.length; i++) words[i] = halves[i]! << 16;
  return new Float32Array(words.buffer);
}

/** Little-endian 16-bit words of bytes: a view where they are aligned, else a copy. */
export function halvesOf(bytes: Uint8Array): Uint16Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 1);
}

/** Bits of the exponent of a 16-bit number: all set in a NaN or an infinity. */
const EXPONENTS = { f16: 0x7c00, bf16: 0x7f80 } as const;

/**
 * Index of the first NaN or infinity among 16-bit numbers, or -1.
 * @param stride numbers from one to the next that is looked at, default 1 @param first the first one, default 0
 */
export function firstNonFinite16(
  bits: Uint16Array,
  kind: keyof typeof EXPONENTS,
  { stride = 1, first = 0 }: { stride?: number; first?: number } = {},
): number {
  const exponent = EXPONENTS[kind];
  for (let i = first; i < bits.length; i += stride) if ((bits[i]! & exponent) === exponent) return i;
  return -1;
}

/** Index of the first NaN or infinity, or -1. */
export function firstNonFinite(values: Float32Array): number {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < words.length; i++) if ((words[i]! & 0x7f800000) === 0x7f800000) return i;
  return -1;
}
