import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { allFinite } from "../../hooks/finite.ts";

/** Columns of a matrix in float64: a head's matrices are small, and their spectra want the digits. */
export type Columns = readonly Float64Array[];

/** A complex number. */
export interface Complex {
  readonly re: number;
  readonly im: number;
}

const EPSILON = 2 ** -52;
/** Rounds after which a spectrum is given up; it takes about three an eigenvalue, and ten sweeps for singular values. */
const MOST_ROUNDS = 100;

/**
 * The columns of one of several stacked matrices of weights.
 * @param stack [matrices, rows, columns] @param which of them, default the first
 * @throws HeadscopeError (input) for numbers that are none
 */
export function columnsOf(stack: Tensor, which = 0): Columns {
  const [, rows, columns] = stack.shape as [number, number, number];
  const values = stack.dataSync().subarray(which * rows * columns, (which + 1) * rows * columns);
  if (!allFinite(values)) throw new HeadscopeError("input", "the weights hold numbers that are none", { remedy: "look at them there: the model is damaged, or its training diverged" }); // biome-ignore format: one line
  return Array.from({ length: columns }, (_, c) =>
    Float64Array.from({ length: rows }, (_, r) => values[r * columns + c]!),
  );
}

/** The rows of a matrix as the columns of its transpose. */
export function transposed(matrix: Columns): Columns {
  return Array.from({ length: matrix[0]!.length }, (_, r) => Float64Array.from(matrix, (column) => column[r]!));
}

/** a · bᵀ. @param a [rows, inner] @param b [columns, inner] */
export function timesTransposed(a: Columns, b: Columns): Columns {
  return Array.from({ length: b[0]!.length }, (_, c) => {
    const column = new Float64Array(a[0]!.length);
    a.forEach((inner, i) => {
      const factor = b[i]![c]!;
      if (factor !== 0) for (let r = 0; r < column.length; r++) column[r]! += inner[r]! * factor;
    });
    return column;
  });
}

/**
 * R of the thin QR decomposition of a matrix, by Householder reflections: it has the matrix's singular values.
 * @param matrix [rows, columns] @returns [min(rows, columns), columns]
 */
export function triangular(matrix: Columns): Columns {
  const work = matrix.map((column) => column.slice());
  const height = Math.min(work.length, work[0]!.length);
  for (let j = 0; j < height; j++) reflect(work, j);
  return work.map((column) => column.subarray(0, height));
}

/** Turns the part of column j below its diagonal to zero, and the later columns with it. */
function reflect(work: readonly Float64Array[], j: number): void {
  const own = work[j]!.slice(j);
  const length = Math.hypot(...own);
  if (length === 0) return;
  own[0]! += own[0]! < 0 ? -length : length;
  const square = dot(own, own);
  for (let c = j; c < work.length; c++) {
    const column = work[c]!.subarray(j);
    const factor = (2 * dot(own, column)) / square;
    for (let i = 0; i < own.length; i++) column[i]! -= factor * own[i]!;
  }
}

/**
 * Singular values of a matrix, largest first, by one-sided Jacobi rotations.
 * @see Golub and Van Loan, Matrix Computations, section 8.6.3
 */
export function singularValues(matrix: Columns): number[] {
  const work = (matrix.length > matrix[0]!.length ? transposed(matrix) : matrix).map((column) => column.slice());
  for (let round = 0; sweep(work); round++) if (round === MOST_ROUNDS) throw unsettled("singular values");
  return work.map((column) => Math.sqrt(dot(column, column))).sort((a, b) => b - a);
}

/** Makes every two columns orthogonal once. @returns true while something had to be turned */
function sweep(work: readonly Float64Array[]): boolean {
  let turned = false;
  for (let p = 0; p < work.length; p++)
    for (let q = p + 1; q < work.length; q++) turned = turn(work[p]!, work[q]!) || turned;
  return turned;
}

function turn(x: Float64Array, y: Float64Array): boolean {
  const [xx, yy, xy] = [dot(x, x), dot(y, y), dot(x, y)];
  if (Math.abs(xy) <= 1e-14 * Math.sqrt(xx * yy)) return false;
  const zeta = (yy - xx) / (2 * xy);
  const tangent = Math.sign(zeta || 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
  const cosine = 1 / Math.hypot(1, tangent);
  const sine = cosine * tangent;
  for (let i = 0; i < x.length; i++) {
    const [a, b] = [x[i]!, y[i]!];
    x[i] = cosine * a - sine * b;
    y[i] = sine * a + cosine * b;
  }
  return true;
}

/**
 * Eigenvalues of a square matrix: Hessenberg form, then complex QR steps with Wilkinson's shifts.
 * @see Golub and Van Loan, Matrix Computations, sections 7.4 and 7.5
 */
export function eigenvalues(matrix: Columns): Complex[] {
  const [re, im] = [hessenberg(matrix), matrix.map((column) => new Float64Array(column.length))];
  const h = { re, im };
  const size = matrix.reduce((sum, column) => sum + dot(column, column), 0) ** 0.5;
  let last = matrix.length - 1;
  let rounds = 0;
  while (last > 0) {
    const first = blockStart(h, last, size);
    if (first === last) {
      last--;
      rounds = 0;
    } else {
      if (rounds++ === MOST_ROUNDS) throw unsettled("eigenvalues");
      step(h, first, last, shiftOf(h, last, rounds));
    }
  }
  return matrix.map((_, i) => entry(h, i, i));
}

/** A complex matrix, column after column. */
interface ComplexColumns {
  readonly re: Columns;
  readonly im: Columns;
}

const entry = ({ re, im }: ComplexColumns, row: number, column: number): Complex => ({
  re: re[column]![row]!,
  im: im[column]![row]!,
});
const put = ({ re, im }: ComplexColumns, row: number, column: number, value: Complex): void => {
  re[column]![row] = value.re;
  im[column]![row] = value.im;
};
const plus = (a: Complex, b: Complex): Complex => ({ re: a.re + b.re, im: a.im + b.im });
const minus = (a: Complex, b: Complex): Complex => ({ re: a.re - b.re, im: a.im - b.im });
const times = (a: Complex, b: Complex): Complex => ({ re: a.re * b.re - a.im * b.im, im: a.re * b.im + a.im * b.re });
const conjugate = ({ re, im }: Complex): Complex => ({ re, im: -im });
const scaled = ({ re, im }: Complex, factor: number): Complex => ({ re: re * factor, im: im * factor });
/** Absolute value. */
export const modulus = ({ re, im }: Complex): number => Math.hypot(re, im);

function root(z: Complex): Complex {
  const length = modulus(z);
  const re = Math.sqrt((length + z.re) / 2);
  const im = Math.sqrt((length - z.re) / 2);
  return { re, im: z.im < 0 ? -im : im };
}

/** A similar matrix that is zero below its first subdiagonal. */
function hessenberg(matrix: Columns): Float64Array[] {
  const work = matrix.map((column) => column.slice());
  const n = work.length;
  for (let j = 0; j < n - 2; j++) {
    const own = work[j]!.slice(j + 1);
    const length = Math.hypot(...own);
    if (length === 0) continue;
    own[0]! += own[0]! < 0 ? -length : length;
    const square = dot(own, own);
    for (const column of work) {
      const below = column.subarray(j + 1);
      const factor = (2 * dot(own, below)) / square;
      for (let i = 0; i < own.length; i++) below[i]! -= factor * own[i]!;
    }
    for (let r = 0; r < n; r++) {
      let sum = 0;
      for (let i = 0; i < own.length; i++) sum += work[j + 1 + i]![r]! * own[i]!;
      const factor = (2 * sum) / square;
      for (let i = 0; i < own.length; i++) work[j + 1 + i]![r]! -= factor * own[i]!;
    }
    work[j]!.fill(0, j + 2);
  }
  return work;
}

/** First row of the block that ends at `last` and that no zero of the subdiagonal divides; what is nearly zero becomes it. */
function blockStart(h: ComplexColumns, last: number, size: number): number {
  for (let row = last; row > 0; row--) {
    const around = modulus(entry(h, row, row)) + modulus(entry(h, row - 1, row - 1));
    if (modulus(entry(h, row, row - 1)) > EPSILON * (around || size)) continue;
    put(h, row, row - 1, { re: 0, im: 0 });
    return row;
  }
  return 0;
}

/** The eigenvalue of the last two by two that is nearer to its corner; now and then something else, against cycles. */
function shiftOf(h: ComplexColumns, last: number, rounds: number): Complex {
  const corner = entry(h, last, last);
  const below = entry(h, last, last - 1);
  if (rounds % 10 === 0) return plus(corner, { re: modulus(below), im: 0 });
  const half = scaled(minus(entry(h, last - 1, last - 1), corner), 0.5);
  const spread = root(plus(times(half, half), times(entry(h, last - 1, last), below)));
  const centre = plus(corner, half);
  const [a, b] = [plus(centre, spread), minus(centre, spread)];
  return modulus(minus(a, corner)) < modulus(minus(b, corner)) ? a : b;
}

/** One QR step of the rows and columns first … last: H - shift = Q R becomes R Q + shift. */
function step(h: ComplexColumns, first: number, last: number, shift: Complex): void {
  const onDiagonal = (change: (a: Complex, b: Complex) => Complex): void => {
    for (let i = first; i <= last; i++) put(h, i, i, change(entry(h, i, i), shift));
  };
  onDiagonal(minus);
  const turns: { c: Complex; s: Complex }[] = [];
  for (let k = first; k < last; k++) {
    const [a, b] = [entry(h, k, k), entry(h, k + 1, k)];
    const length = Math.hypot(a.re, a.im, b.re, b.im);
    const [c, s] = length === 0 ? [{ re: 1, im: 0 }, { re: 0, im: 0 }] : [scaled(a, 1 / length), scaled(b, 1 / length)]; // biome-ignore format: one line
    turns.push({ c, s });
    for (let column = k; column <= last; column++) {
      const [upper, lower] = [entry(h, k, column), entry(h, k + 1, column)];
      put(h, k, column, plus(times(conjugate(c), upper), times(conjugate(s), lower)));
      put(h, k + 1, column, minus(times(c, lower), times(s, upper)));
    }
  }
  turns.forEach(({ c, s }, i) => {
    const k = first + i;
    for (let row = first; row <= Math.min(k + 1, last); row++) {
      const [left, right] = [entry(h, row, k), entry(h, row, k + 1)];
      put(h, row, k, plus(times(left, c), times(right, s)));
      put(h, row, k + 1, minus(times(right, conjugate(c)), times(left, conjugate(s))));
    }
  });
  onDiagonal(plus);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function unsettled(what: string): HeadscopeError {
  return new HeadscopeError("input", `the ${what} of a head's weights do not settle`, {
    remedy: "look at the weights: they may span too many orders of magnitude",
  });
}
