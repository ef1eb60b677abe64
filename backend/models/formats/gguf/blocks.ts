/**
 * ggml's block layouts, one unpacking function each: from bytes to 8-bit codes with a scale (and a minimum) for each
 * sub-block, in element order. Layouts: ggml-quants.c of llama.cpp (dequantize_row_*). Every product of a scale and a
 * small integer here is exact in f32, so widening the codes gives the same bits as dequantising directly.
 */
import { f16Table } from "../half.ts";

/** Room for unpacked blocks. */
export interface Unpacked {
  /** [count * elements] */
  readonly codes: Uint8Array;
  /** [count * elements / sub-block] */
  readonly scale: Float32Array;
  /** Like `scale`; untouched by layouts without a minimum. */
  readonly min: Float32Array;
}

/** Unpacks `count` blocks of `bytes` into `room`. */
export type Unpack = (bytes: Uint8Array, count: number, room: Unpacked) => void;

/** 32 4-bit codes from 16 bytes: low nibbles first, then high nibbles. */
function nibbles(bytes: Uint8Array, at: number, codes: Uint8Array, to: number): void {
  for (let i = 0; i < 16; i++) {
    const pair = bytes[at + i]!;
    codes[to + i] = pair & 15;
    codes[to + i + 16] = pair >> 4;
  }
}

/** As `nibbles`, with the fifth bit of element i in bit i of the 32-bit word before. */
function nibblesAndFifth(bytes: Uint8Array, word: number, codes: Uint8Array, to: number): void {
  const at = word + 4;
  const high = bytes[word]! | (bytes[word + 1]! << 8) | (bytes[word + 2]! << 16) | (bytes[word + 3]! << 24);
  for (let i = 0; i < 16; i++) {
    const pair = bytes[at + i]!;
    codes[to + i] = (pair & 15) | (((high >>> i) & 1) << 4);
    codes[to + i + 16] = (pair >> 4) | (((high >>> (i + 16)) & 1) << 4);
  }
}

/** w = (code - 8) * d; bytes: d f16, 16 nibble pairs. */
export const unpackQ4_0: Unpack = (bytes, count, { codes, scale }) => {
  const half = f16Table();
  for (let b = 0, at = 0; b < count; b++, at += 18) {
    scale[b] = half[bytes[at]! | (bytes[at + 1]! << 8)]!;
    nibbles(bytes, at + 2, codes, b * 32);
  }
};

/** w = code * d + m; bytes: d f16, m f16, 16 nibble pairs. */
export const unpackQ4_1: Unpack = (bytes, count, { codes, scale, min }) => {
  const half = f16Table();
  for (let b = 0, at = 0; b < count; b++, at += 20) {
    scale[b] = half[bytes[at]! | (bytes[at + 1]! << 8)]!;
    min[b] = half[bytes[at + 2]! | (bytes[at + 3]! << 8)]!;
    nibbles(bytes, at + 4, codes, b * 32);
  }
};

/** w = (code - 16) * d; bytes: d f16, fifth bits u32, 16 nibble pairs. */
export const unpackQ5_0: Unpack = (bytes, count, { codes, scale }) => {
  const half = f16Table();
  for (let b = 0, at = 0; b < count; b++, at += 22) {
    scale[b] = half[bytes[at]! | (bytes[at + 1]! << 8)]!;
    nibblesAndFifth(bytes, at + 2, codes, b * 32);
  }
};

/** w = code * d + m; bytes: d f16, m f16, fifth bits u32, 16 nibble pairs. */
export const unpackQ5_1: Unpack = (bytes, count, { codes, scale, min }) => {
  const half = f16Table();
  for (let b = 0, at = 0; b < count; b++, at += 24) {
    scale[b] = half[bytes[at]! | (bytes[at + 1]! << 8)]!;
    min[b] = half[bytes[at + 2]! | (bytes[at + 3]! << 8)]!;
    nibblesAndFifth(bytes, at + 4, codes, b * 32);
  }
};

/** w = (code - 128) * d; bytes: d f16, 32 signed bytes. */
export const unpackQ8_0: Unpack = (bytes, count, { codes, scale }) => {
  const half = f16Table();
  for (let b = 0, at = 0; b < count; b++, at += 34) {
    scale[b] = half[bytes[at]! | (bytes[at + 1]! << 8)]!;
    for (let i = 0; i < 32; i++) codes[b * 32 + i] = bytes[at + 2 + i]! ^ 128; // signed byte + 128
  }
};

/** w = code * d * sc - dmin * m over sub-blocks of 16; bytes: 16 (m, sc) nibble pairs, 64 of 2-bit codes, d, dmin f16. */
export const unpackQ2_K: Unpack = (bytes, count, { codes, scale, min }) => {
  const half = f16Table();
  for (let b = 0, at = 0; b < count; b++, at += 84) {
    const d = half[bytes[at + 80]! | (bytes[at + 81]! << 8)]!;
    const dmin = half[bytes[at + 82]! | (bytes[at + 83]! << 8)]!;
    for (let s = 0; s < 16; s++) {
      const pair = bytes[at + s]!;
      scale[b * 16 + s] = d * (pair & 15);
      min[b * 16 + s] = -(dmin * (pair >> 4));
    }
    for (let part = 0; part < 8; part++) {
      const from = at + 16 + (part >> 2) * 32;
      const shift = (part & 3) * 2;
      const to = b * 256 + part * 32;
      for (let i = 0; i < 32; i++) codes[to + i] = (bytes[from + i]! >> shift) & 3;
    }
  }
};

/** w = (code - 4) * d * (sc - 32) over sub-blocks of 16; bytes: 32 of third bits, 64 of 2-bit codes, 12 of 6-bit scales, d f16. */
export const unpackQ3_K: Unpack = (bytes, count, { codes, scale }) => {
  const half = f16Table();
  for (let b = 0, at = 0; b < count; b++, at += 110) {
    const d = half[bytes[at + 108]! | (bytes[at + 109]! << 8)]!;
    for (let s = 0; s < 16; s++) {
      const low = s < 8 ? bytes[at + 96 + s]! & 15 : bytes[at + 88 + s]! >> 4;
      const high = (bytes[at + 104 + (s & 3)]! >> (2 * (s >> 2))) & 3;
      scale[b * 16 + s] = d * ((low | (high << 4)) - 32);
    }
    for (let part = 0; part < 8; part++) {
      const from = at + 32 + (part >> 2) * 32;
      const shift = (part & 3) * 2;
      const to = b * 256 + part * 32;
      for (let i = 0; i < 32; i++) {
        codes[to + i] = ((bytes[from + i]! >> shift) & 3) | (((bytes[at + i]! >> part) & 1) << 2);
      }
    }
  }
};

/** Scales and minima of Q4_K and Q5_K: d and dmin f16 at `at`, then eight pairs of 6 bits in 12 bytes. */
function sixBitPairs(bytes: Uint8Array, at: number, { scale, min }: Unpacked, to: number): void {
  const half = f16Table();
  const d = half[bytes[at]! | (bytes[at + 1]! << 8)]!;
  const dmin = half[bytes[at + 2]! | (bytes[at + 3]! << 8)]!;
  const q = at + 4;
  for (let s = 0; s < 4; s++) {
    scale[to + s] = d * (bytes[q + s]! & 63);
    min[to + s] = -(dmin * (bytes[q + s + 4]! & 63));
    const low = bytes[q + s + 8]!;
    scale[to + s + 4] = d * ((low & 15) | ((bytes[q + s]! >> 6) << 4));
    min[to + s + 4] = -(dmin * ((low >> 4) | ((bytes[q + s + 4]! >> 6) << 4)));
  }
}

/** w = code * d * sc - dmin * m over sub-blocks of 32; bytes: d, dmin f16, 12 of scales, 128 nibble pairs. */
export const unpackQ4_K: Unpack = (bytes, count, room) => {
  const { codes } = room;
  for (let b = 0, at = 0; b < count; b++, at += 144) {
    sixBitPairs(bytes, at, room, b * 8);
    for (let part = 0; part < 4; part++) {
      const from = at + 16 + part * 32;
      const to = b * 256 + part * 64;
      for (let i = 0; i < 32; i++) {
        const pair = bytes[from + i]!;
        codes[to + i] = pair & 15;
        codes[to + i + 32] = pair >> 4;
      }
    }
  }
};

/** As Q4_K with a fifth bit; bytes: d, dmin f16, 12 of scales, 32 of fifth bits, 128 nibble pairs. */
export const unpackQ5_K: Unpack = (bytes, count, room) => {
  const { codes } = room;
  for (let b = 0, at = 0; b < count; b++, at += 176) {
    sixBitPairs(bytes, at, room, b * 8);
    for (let part = 0; part < 4; part++) {
      const from = at + 48 + part * 32;
      const to = b * 256 + part * 64;
      for (let i = 0; i < 32; i++) {
        const pair = bytes[from + i]!;
        const fifth = bytes[at + 16 + i]! >> (2 * part);
        codes[to + i] = (pair & 15) | ((fifth & 1) << 4);
        codes[to + i + 32] = (pair >> 4) | ((fifth & 2) << 3);
      }
    }
  }
};

/** w = (code - 32) * d * sc over sub-blocks of 16; bytes: 128 of low nibbles, 64 of high 2 bits, 16 signed scales, d f16. */
export const unpackQ6_K: Unpack = (bytes, count, { codes, scale }) => {
  const half = f16Table();
  for (let b = 0, at = 0; b < count; b++, at += 210) {
    const d = half[bytes[at + 208]! | (bytes[at + 209]! << 8)]!;
    for (let s = 0; s < 16; s++) scale[b * 16 + s] = d * ((bytes[at + 192 + s]! << 24) >> 24);
    for (let part = 0; part < 2; part++) {
      const low = at + part * 64;
      const high = at + 128 + part * 32;
      const to = b * 256 + part * 128;
      for (let i = 0; i < 32; i++) {
        const first = bytes[low + i]!;
        const second = bytes[low + i + 32]!;
        const top = bytes[high + i]!;
        codes[to + i] = (first & 15) | ((top & 3) << 4);
        codes[to + i + 32] = (second & 15) | (((top >> 2) & 3) << 4);
        codes[to + i + 64] = (first >> 4) | (((top >> 4) & 3) << 4);
        codes[to + i + 96] = (second >> 4) | ((top >> 6) << 4);
      }
    }
  }
};
