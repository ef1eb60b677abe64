import { describe, expect, it } from "vitest";
import {
  type Columns,
  eigenvalues,
  modulus,
  singularValues,
  timesTransposed,
  transposed,
  triangular,
} from "../../../../backend/circuits/weights/spectrum.ts";
import { Random } from "../../../../backend/common/random.ts";

/** A matrix from its rows. */
const fromRows = (...rows: number[][]): Columns => transposed(rows.map((row) => Float64Array.from(row)));

function drawn(rows: number, columns: number, seed: number): Columns {
  const random = new Random(seed);
  return Array.from({ length: columns }, () => Float64Array.from({ length: rows }, () => random.normal()));
}

/** Trace of a power of a matrix. */
function traceOfPower(matrix: Columns, power: number): number {
  let product = matrix;
  for (let i = 1; i < power; i++) product = timesTransposed(product, transposed(matrix));
  return product.reduce((sum, column, i) => sum + column[i]!, 0);
}

describe("eigenvalues", () => {
  it("of a rotation are its cosine and sine, and those of a triangle its diagonal", () => {
    const [c, s] = [Math.cos(0.7), Math.sin(0.7)];
    for (const { re, im } of eigenvalues(fromRows([c, -s], [s, c]))) {
      expect(re).toBeCloseTo(c, 12);
      expect(Math.abs(im)).toBeCloseTo(s, 12);
    }
    const triangle = eigenvalues(fromRows([3, 5, 7], [0, -2, 1], [0, 0, 1]));
    expect(triangle.map(({ re }) => re).sort((a, b) => a - b)).toEqual([-2, 1, 3].map((x) => expect.closeTo(x, 12)));
  });

  it.each([1, 2, 7, 32, 64])("of a random matrix of %i rows have the sums of powers of its traces", (n) => {
    const matrix = drawn(n, n, n);
    const all = eigenvalues(matrix);
    expect(all).toHaveLength(n);
    const square = all.reduce((sum, { re, im }) => sum + re * re - im * im, 0);
    expect(all.reduce((sum, { re }) => sum + re, 0)).toBeCloseTo(traceOfPower(matrix, 1), 8);
    expect(square).toBeCloseTo(traceOfPower(matrix, 2), 7);
    expect(all.reduce((sum, { im }) => sum + im, 0)).toBeCloseTo(0, 8);
  });

  it("are found where steps without shifts go in circles, and of a matrix that keeps early versions of JAMA busy for ever", () => {
    const cycle = fromRows([0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]);
    for (const value of eigenvalues(cycle)) expect(modulus(value)).toBeCloseTo(1, 10);
    const stubborn = fromRows([0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0], [1, 1, 0, 0, 1], [1, 0, 1, 0, 1]);
    expect(eigenvalues(stubborn).reduce((sum, { re }) => sum + re, 0)).toBeCloseTo(1, 10);
    expect(eigenvalues(fromRows([0, 0], [0, 0])).map(modulus)).toEqual([0, 0]);
  });
});

describe("singular values", () => {
  it("are those of a diagonal turned on both sides", () => {
    const turned = (angle: number): Columns =>
      fromRows([Math.cos(angle), -Math.sin(angle)], [Math.sin(angle), Math.cos(angle)]);
    const product = timesTransposed(timesTransposed(turned(0.3), fromRows([5, 0], [0, 2])), turned(1.1));
    expect(singularValues(product)).toEqual([expect.closeTo(5, 12), expect.closeTo(2, 12)]);
  });

  it.each([
    [20, 6],
    [6, 20],
    [8, 8],
  ])("of [%i, %i] are those of its R, and their squares add up to the matrix's", (rows, columns) => {
    const matrix = drawn(rows, columns, 3);
    const values = singularValues(matrix);
    const ofR = singularValues(triangular(matrix));
    expect(values).toHaveLength(Math.min(rows, columns));
    values.forEach((value, i) => {
      expect(ofR[i]).toBeCloseTo(value, 10);
    });
    const square = matrix.reduce((sum, column) => sum + column.reduce((s, x) => s + x * x, 0), 0);
    expect(values.reduce((sum, value) => sum + value * value, 0)).toBeCloseTo(square, 8);
  });

  it("of a matrix whose columns repeat are zero beyond its rank", () => {
    const [column] = drawn(9, 1, 5);
    const [first, ...rest] = singularValues(triangular([column!, column!, column!]));
    expect(first).toBeCloseTo(Math.sqrt(3) * Math.hypot(...column!), 10);
    for (const value of rest) expect(value).toBeLessThan(1e-12);
  });
});
