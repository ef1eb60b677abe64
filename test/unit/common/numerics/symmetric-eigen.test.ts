import { describe, expect, it } from "vitest";
import { eigen } from "../../../../backend/common/numerics/symmetric-eigen.ts";
import { Random } from "../../../../backend/common/random.ts";
import { failure, refused } from "../../../helpers/errors.ts";

describe("eigenvectors of a symmetric matrix", () => {
  it("are those of a matrix with known ones", () => {
    // Reflections of a diagonal matrix: a = Q diag Q, Q = 1 - 2 u uᵀ.
    const n = 12;
    const random = new Random(5);
    const raw = Array.from({ length: n }, () => random.normal());
    const u = raw.map((x) => x / Math.hypot(...raw));
    const q = (i: number, j: number): number => (i === j ? 1 : 0) - 2 * u[i]! * u[j]!;
    const values = Array.from({ length: n }, (_, i) => (i + 1) ** 2);
    const a = Float64Array.from({ length: n * n }, (_, i) =>
      values.reduce((sum, value, k) => sum + q(Math.floor(i / n), k) * value * q(k, i % n), 0),
    );
    const found = eigen(a, n);
    [...found.values]
      .map((value, i) => [value, found.vectors.subarray(i * n, (i + 1) * n)] as const)
      .sort(([x], [y]) => x - y)
      .forEach(([value, vector], k) => {
        expect(value).toBeCloseTo(values[k]!, 9);
        const along = vector.reduce((sum, x, i) => sum + x * q(i, k), 0);
        expect(Math.abs(along)).toBeCloseTo(1, 9);
      });
  });

  it("diagonalise matrices of low rank, of equal eigenvalues and of one number", () => {
    const random = new Random(5);
    const numbers = Array.from({ length: 40 * 7 }, () => random.normal());
    const gram = (i: number, j: number) => {
      let sum = 0;
      for (let k = 0; k < 7; k++) sum += numbers[i * 7 + k]! * numbers[j * 7 + k]!;
      return sum;
    };
    const cases: [number, (i: number, j: number) => number][] = [
      [40, gram],
      [6, (i, j) => (i === j ? 3 : 0)],
      [6, (i, j) => (i === j ? 2 : 1)],
      [1, () => 4],
      [5, () => 0],
    ];
    for (const [n, entry] of cases) {
      const matrix = Float64Array.from({ length: n * n }, (_, at) => entry(Math.floor(at / n), at % n));
      const { values, vectors } = eigen(matrix.slice(), n);
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++) {
          let [unit, back] = [0, 0];
          for (let k = 0; k < n; k++) {
            unit += vectors[i * n + k]! * vectors[j * n + k]!;
            back += values[k]! * vectors[k * n + i]! * vectors[k * n + j]!;
          }
          expect(unit).toBeCloseTo(i === j ? 1 : 0, 10);
          expect(back).toBeCloseTo(matrix[i * n + j]!, 9);
        }
    }
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])("are refused where a number is %d", async (x) => {
    expect(await failure(() => eigen(Float64Array.of(1, x, x, 1), 2))).toEqual(refused("input"));
    expect(await failure(() => eigen(Float64Array.of(x), 1))).toEqual(refused("input"));
  });
});
