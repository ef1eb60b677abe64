import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";

interface Case {
  seed: number;
  stream: number;
  words: number[];
  normals: number[];
}
const { philox } = JSON.parse(readFileSync(new URL("../../oracles/tasks.json", import.meta.url), "utf8")) as {
  philox: Case[];
};

describe.each(philox)("Philox of seed $seed, stream $stream", ({ seed, stream, words, normals }) => {
  it("gives the words of an independent implementation, one by one and in bulk", () => {
    const random = new Random(seed, stream);
    expect(words.map(() => random.uint32())).toEqual(words);
    const bulk = new Uint32Array(words.length);
    new Random(seed, stream).fillUint32(bulk);
    expect([...bulk]).toEqual(words);
  });

  it("gives its normal numbers, in bulk in single precision", () => {
    const random = new Random(seed, stream);
    for (const value of normals) expect(random.normal()).toBeCloseTo(value, 12);
    const bulk = new Float32Array(normals.length);
    new Random(seed, stream).fillNormal(bulk);
    bulk.forEach((value, i) => {
      expect(Math.abs(value - normals[i]!)).toBeLessThan(1e-6);
    });
  });
});

/** Takes a few numbers of every kind, so that blocks and pairs are cut anywhere. */
const SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 63, 4097, 9000];

describe("bulk draws go on in the sequence of single draws", () => {
  it("in whole numbers of 32 bits", () => {
    const [one, bulk] = [new Random(4, 2), new Random(4, 2)];
    for (const n of SIZES) {
      const out = new Uint32Array(n);
      bulk.fillUint32(out);
      expect([...out]).toEqual(Array.from({ length: n }, () => one.uint32()));
      expect(bulk.uniform()).toBe(one.uniform());
    }
  });

  it("in normal numbers, whose second of a pair is kept", () => {
    const [one, bulk] = [new Random(5), new Random(5)];
    for (const n of SIZES) {
      const out = new Float32Array(n);
      bulk.fillNormal(out);
      expect([...out]).toEqual(Array.from({ length: n }, () => Math.fround(one.normal())));
      expect(bulk.uint32()).toBe(one.uint32());
      expect(bulk.normal()).toBe(one.normal());
    }
  });

  it("in whole numbers of a range", () => {
    const [one, bulk] = [new Random(6), new Random(6)];
    for (const n of SIZES) {
      const out = new Int32Array(n);
      bulk.integers(out, -3, 11);
      expect([...out]).toEqual(Array.from({ length: n }, () => one.integer(-3, 11)));
    }
  });

  it("in uniform numbers of 24 bits below 1", () => {
    const [one, bulk] = [new Random(7), new Random(7)];
    for (const n of SIZES) {
      const out = new Float32Array(n);
      bulk.fillUniform(out);
      expect([...out]).toEqual(Array.from({ length: n }, () => (one.uint32() >>> 8) / 2 ** 24));
      expect(out.every((value) => value >= 0 && value < 1)).toBe(true);
    }
  });
});

it("draws normal numbers with the moments of a normal distribution", () => {
  const n = 200_000;
  const values = new Float32Array(n);
  new Random(11).fillNormal(values);
  const moment = (power: number): number => values.reduce((sum, value) => sum + value ** power, 0) / n;
  // Standard errors of the four moments are sqrt(1, 2, 15, 96) / sqrt(n); four of them.
  [0, 1, 0, 3].forEach((expected, i) => {
    expect(Math.abs(moment(i + 1) - expected)).toBeLessThan(4 * Math.sqrt([1, 2, 15, 96][i]! / n));
  });
});
