import { HeadscopeError } from "../errors.ts";

/** Most QR steps for one eigenvalue; two or three are usual. */
const STEPS = 60;

/**
 * Eigenvalues and eigenvectors of a symmetric matrix: Householder's reflections make it tridiagonal, then QR steps with implicit
 * shifts make it diagonal.
 * @param a [n, n] row by row, which is overwritten
 * @returns values [n], vectors [n, n]: one a row, of length 1
 * @throws HeadscopeError (input) for numbers that are none
 * @see Golub and Van Loan, Matrix Computations, 8.3
 */
export function eigen(a: Float64Array, n: number): { values: Float64Array; vectors: Float64Array } {
  if (!a.every(Number.isFinite)) throw noDirections();
  const { diagonal, beside, vectors } = tridiagonal(a, n);
  const scale = diagonal.reduce((most, x, i) => Math.max(most, Math.abs(x) + Math.abs(beside[i]!)), 0);
  for (let low = 0; low < n; low++)
    for (let step = 0; ; step++) {
      let high = low;
      while (high < n - 1 && Math.abs(beside[high]!) > Number.EPSILON * scale) high++;
      if (high === low) break;
      if (step === STEPS) throw noDirections();
      chase({ diagonal, beside, vectors, n }, low, high);
    }
  return { values: diagonal, vectors };
}

function noDirections(): HeadscopeError {
  return new HeadscopeError("input", "a matrix has no eigenvectors: its numbers are not finite", {
    remedy: "look where they arise with a forward",
  });
}

/** A symmetric tridiagonal matrix, and by row the vectors in which it stands. */
interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** Below the diagonal, the last being 0. */
  readonly beside: Float64Array;
  readonly vectors: Float64Array;
  readonly n: number;
}

/** One QR step with Wilkinson's shift on rows low to high, from the end up. */
function chase({ diagonal, beside, vectors, n }: Tridiagonal, low: number, high: number): void {
  const half = (diagonal[low + 1]! - diagonal[low]!) / (2 * beside[low]!);
  const shift = diagonal[low]! - beside[low]! / (half + (half < 0 ? -1 : 1) * Math.hypot(half, 1));
  let [c, s, less] = [1, 1, 0];
  let across = diagonal[high]! - shift;
  for (let i = high - 1; i >= low; i--) {
    const [f, b] = [s * beside[i]!, c * beside[i]!];
    const length = Math.hypot(f, across);
    beside[i + 1] = length;
    if (length === 0) {
      diagonal[i + 1]! -= less;
      beside[high] = 0;
      return;
    }
    [s, c] = [f / length, across / length];
    const kept = diagonal[i + 1]! - less;
    const moved = (diagonal[i]! - kept) * s + 2 * c * b;
    less = s * moved;
    diagonal[i + 1] = kept + less;
    across = c * moved - b;
    turn(vectors, i * n, (i + 1) * n, { n, c, s });
  }
  diagonal[low]! -= less;
  beside[low] = across;
  beside[high] = 0;
}

/** Turns two rows x, y to c x - s y, s x + c y. */
function turn(rows: Float64Array, x: number, y: number, { n, c, s }: { n: number; c: number; s: number }): void {
  for (let k = 0; k < n; k++) {
    const [first, second] = [rows[x + k]!, rows[y + k]!];
    rows[x + k] = c * first - s * second;
    rows[y + k] = s * first + c * second;
  }
}

/** Makes a symmetric matrix tridiagonal by reflections. @param a [n, n], overwritten */
function tridiagonal(a: Float64Array, n: number): Omit<Tridiagonal, "n"> {
  const vectors = new Float64Array(n * n);
  for (let i = 0; i < n; i++) vectors[i * n + i] = 1;
  const beside = new Float64Array(n);
  for (let column = 0; column < n - 1; column++) {
    const first = column + 1;
    const u = Float64Array.from({ length: n }, (_, k) => (k < first ? 0 : a[column * n + k]!));
    const length = Math.hypot(...u);
    if (length > 0) {
      const sign = u[first]! < 0 ? -1 : 1;
      beside[column] = -sign * length;
      u[first]! += sign * length;
      const norm = 2 / u.reduce((sum, x) => sum + x * x, 0);
      const p = new Float64Array(n); // norm * a u
      for (let i = first; i < n; i++) p[i] = norm * dot(a, i * n, u);
      const along = (norm / 2) * dot(p, 0, u);
      for (let i = 0; i < n; i++) p[i]! -= along * u[i]!;
      for (let i = first; i < n; i++) {
        const [ui, pi] = [u[i]!, p[i]!];
        for (let k = first; k < n; k++) a[i * n + k]! -= ui * p[k]! + pi * u[k]!;
      }
      reflect(vectors, u, norm, n);
    }
  }
  return { diagonal: Float64Array.from({ length: n }, (_, i) => a[i * n + i]!), beside, vectors };
}

/** Reflects vectors, one a row: those of the earlier steps by the next one from the left. */
function reflect(vectors: Float64Array, u: Float64Array, norm: number, n: number): void {
  const sums = new Float64Array(n); // u' vectors
  for (let i = 0; i < n; i++) if (u[i] !== 0) for (let k = 0; k < n; k++) sums[k]! += u[i]! * vectors[i * n + k]!;
  for (let i = 0; i < n; i++)
    if (u[i] !== 0) for (let k = 0; k < n; k++) vectors[i * n + k]! -= norm * u[i]! * sums[k]!;
}

function dot(rows: Float64Array, start: number, u: Float64Array): number {
  let sum = 0;
  for (let k = 0; k < u.length; k++) sum += rows[start + k]! * u[k]!;
  return sum;
}
