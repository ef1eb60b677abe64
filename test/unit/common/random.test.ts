import { expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";

it("gives Philox 4x32-10's known answers", () => {
  // Counter and key 0, from the authors' known-answer file.
  const random = new Random(0);
  expect([1, 2, 3, 4].map(() => random.uint32())).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
});

it("gives the same numbers for the same seed, others for another seed or stream", () => {
  const draw = (seed: number, stream = 0): number[] => {
    const random = new Random(seed, stream);
    return Array.from({ length: 9 }, () => random.uniform());
  };
  expect(draw(5)).toEqual(draw(5));
  expect(draw(5)).not.toEqual(draw(6));
  expect(draw(5, 1)).not.toEqual(draw(5));
});

it("draws uniform and normal numbers with the right moments", () => {
  const random = new Random(3);
  const n = 20000;
  const uniform = Array.from({ length: n }, () => random.uniform());
  const normal = Array.from({ length: n }, () => random.normal());
  const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / n;
  expect(mean(uniform)).toBeCloseTo(0.5, 1);
  expect(Math.abs(mean(normal))).toBeLessThan(0.03);
  expect(Math.abs(mean(normal.map((v) => v * v)) - 1)).toBeLessThan(0.05);
});

it("orders without fixed points", () => {
  const random = new Random(1);
  for (let n = 2; n < 12; n++) {
    const order = random.derangement(n);
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
    order.forEach((to, from) => {
      expect(to).not.toBe(from);
    });
    expect([...random.permutation(n)].sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
  }
});
