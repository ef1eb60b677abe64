import { describe, expect, it } from "vitest";
import { readSafetensors } from "../../../frontend/src/api/safetensors.ts";

/** A safetensors file of one tensor. */
function file(name: string, dtype: string, shape: number[], data: Uint8Array): ArrayBuffer {
  const header = { __metadata__: { format: "pt" }, [name]: { dtype, shape, data_offsets: [0, data.length] } };
  let text = JSON.stringify(header);
  text = text.padEnd(Math.ceil(text.length / 8) * 8);
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(new TextEncoder().encode(text), 8);
  bytes.set(data, 8 + text.length);
  return bytes.buffer;
}

function half(bits: readonly number[]): ArrayBuffer {
  return file("x", "F16", [bits.length], new Uint8Array(Uint16Array.from(bits).buffer));
}

describe("readSafetensors", () => {
  it("reads f32 with its name and shape", () => {
    const data = Float32Array.from([1, -2.5, 0, 3e-30, 4, 5]);
    const [tensor] = readSafetensors(file("blocks.0.attn.hook_pattern", "F32", [2, 3], new Uint8Array(data.buffer)));
    expect(tensor).toEqual({ name: "blocks.0.attn.hook_pattern", shape: [2, 3], data });
  });

  // IEEE 754-2008, binary16.
  it.each([
    [0x0000, 0],
    [0x0001, 2 ** -24],
    [0x03ff, 1023 * 2 ** -24],
    [0x0400, 2 ** -14],
    [0x3555, 0.333251953125],
    [0x3bff, 0.99951171875],
    [0x3c00, 1],
    [0x3c01, 1.0009765625],
    [0x7bff, 65504],
    [0xc000, -2],
    [0x7c00, Number.POSITIVE_INFINITY],
    [0xfc00, Number.NEGATIVE_INFINITY],
    [0x7e00, Number.NaN],
  ])("reads the half-precision bits %i as %d", (bits, value) => {
    expect(readSafetensors(half([bits]))[0]!.data[0]).toBe(value);
  });

  it("keeps the sign of zero and the order of all half-precision numbers", () => {
    const all = readSafetensors(half(Array.from({ length: 0x7c01 }, (_, i) => i)))[0]!.data;
    for (let i = 1; i < all.length; i++) expect(all[i]! > all[i - 1]!).toBe(true);
    expect(Object.is(readSafetensors(half([0x8000]))[0]!.data[0], -0)).toBe(true);
  });

  it("refuses what it cannot read", () => {
    expect(() => readSafetensors(file("x", "BF16", [1], new Uint8Array(2)))).toThrow("BF16");
    expect(() => readSafetensors(new ArrayBuffer(4))).toThrow();
  });
});
