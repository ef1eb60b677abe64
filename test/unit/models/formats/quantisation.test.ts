import { afterAll, describe, expect, it } from "vitest";
import { QUANTISATIONS, widen } from "../../../../backend/models/formats/gguf/quantisation.ts";
import { f16Table, toBf16, toF16 } from "../../../../backend/models/formats/half.ts";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import { readSafetensors } from "../../../../backend/models/formats/safetensors/safetensors.ts";
import { fixture } from "../../../helpers/fixtures.ts";

const bits = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);

describe("every tensor type decodes to the bits that the Python package gguf gives", async () => {
  const checkpoint = await openCheckpoint(fixture("formats/quantised.gguf"));
  afterAll(() => checkpoint.close());
  const { tensors: expected } = await readSafetensors(fixture("formats/quantised.safetensors"));

  it.each(QUANTISATIONS.map(({ name }) => name))("%s", async (name) => {
    const floats = await checkpoint.read(name);
    expect(bits(floats)).toEqual(bits(expected.get(name)!.data as Float32Array));
  });

  it.each(QUANTISATIONS.filter(({ narrow }) => narrow).map(({ name }) => name))(
    "%s in 8 bits widens to the same bits",
    async (name) => {
      const rows = (await checkpoint.readNarrow(name))!;
      expect(rows.codes.length).toBe(rows.scale.length * rows.block);
      expect(bits(widen(rows))).toEqual(bits(expected.get(name)!.data as Float32Array));
      // As a graph computes it, every step rounded to f32.
      const stepwise = Float32Array.from(rows.codes, (code, i) => {
        const at = Math.floor(i / rows.block);
        const product = Math.fround((code - rows.zero) * rows.scale[at]!);
        return rows.min === undefined ? product : product + rows.min[at]!;
      });
      expect(bits(stepwise)).toEqual(bits(widen(rows)));
    },
  );

  it("plain floats have no 8-bit form", async () => {
    for (const name of ["F32", "F16", "BF16"]) expect(await checkpoint.readNarrow(name)).toBeUndefined();
  });
});

describe("16-bit floats", () => {
  it("every binary16 number survives the way to f32 and back", () => {
    const table = f16Table();
    const halves = Array.from(table, (_, half) => half);
    const back = (half: number) => toF16(table[half]!);
    expect(halves.filter((half) => !Number.isNaN(table[half]!) && back(half) !== half)).toEqual([]);
    expect(halves.filter((half) => Number.isNaN(table[half]!) && !Number.isNaN(table[back(half)]!))).toEqual([]);
  });

  it("rounds to the nearest, ties to even, and overflows to infinity", () => {
    expect(toF16(1 + 2 ** -11)).toBe(0x3c00);
    expect(toF16(1 + 3 * 2 ** -11)).toBe(0x3c02);
    expect(toF16(65519)).toBe(0x7bff);
    expect(toF16(65520)).toBe(0x7c00);
    expect(toF16(2 ** -25)).toBe(0);
    expect(toF16(3 * 2 ** -25)).toBe(2);
    expect(toF16(-(2 ** -24))).toBe(0x8001);
    expect(toBf16(1 + 2 ** -8)).toBe(0x3f80);
    expect(toBf16(1 + 3 * 2 ** -8)).toBe(0x3f82);
    expect(toBf16(Number.NaN) & 0x7fff).toBeGreaterThan(0x7f80);
  });
});
