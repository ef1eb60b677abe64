import type { Tensor } from "@tensorflow/tfjs";
import { Random } from "../../../common/random.ts";
import { tf } from "../../../runtime/tf.ts";

/** Directions beside those wanted that a search for them goes along. */
const BESIDE = 16;
/** Products with the Gram matrix of a search. */
const ROUNDS = 4;
/** Most rounds of rotations of a matrix that is made diagonal. */
const SWEEPS = 30;

/**
 * The directions in which rows are largest: right singular vectors of the largest singular values, without centring.
 * @param rows [rows, channels]
 * @param rank at most channels
 * @returns [channels, rank], orthonormal
 * @see Halko, Martinsson and Tropp 2011 for the search where rank is far below the channels: then nearly these directions
 */
export function principalDirections(rows: Tensor, rank: number): Tensor {
  const channels = rows.shape[1]!;
  const gram = tf.matMul(rows, rows, true, false);
  const width = Math.min(channels, rank + BESIDE);
  if (2 * width >= channels) return topOf(gram, rank);
  let basis = orthonormal(randomColumns(channels, width));
  for (let round = 0; round < ROUNDS; round++) basis = orthonormal(tf.matMul(gram, basis));
  const inner = tf.matMul(basis, tf.matMul(gram, basis), true, false);
  return tf.matMul(basis, topOf(inner, rank));
}

/** A rank of so many channels: a whole number from 1 to all. */
export function rankOf(wanted: number, channels: number): number {
  return Math.min(channels, Math.max(1, Math.round(wanted)));
}

/** Eigenvectors of the largest eigenvalues of a symmetric matrix [n, count]. @param matrix [n, n] */
function topOf(matrix: Tensor, count: number): Tensor {
  const n = matrix.shape[0]!;
  const { values, vectors } = eigen(Float64Array.from(matrix.dataSync()), n);
  const order = [...values.keys()].sort((a, b) => values[b]! - values[a]!).slice(0, count);
  const top = new Float32Array(n * count);
  for (let row = 0; row < n; row++)
    for (let i = 0; i < count; i++) top[row * count + i] = vectors[order[i]! * n + row]!;
  return tf.tensor2d(top, [n, count]);
}

/**
 * Eigenvalues and eigenvectors of a symmetric matrix, by Jacobi's rotations.
 * @param a [n, n] row by row, which is overwritten
 * @returns values [n], vectors [n, n]: one a row, of length 1
 */
export function eigen(a: Float64Array, n: number): { values: Float64Array; vectors: Float64Array } {
  const vectors = new Float64Array(n * n);
  for (let i = 0; i < n; i++) vectors[i * n + i] = 1;
  const all = a.reduce((sum, x) => sum + x * x, 0);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    let beside = 0;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) beside += a[p * n + q]! ** 2;
    if (beside <= 1e-24 * all) break;
    for (let p = 0; p < n; p++)
      for (let q = p + 1; q < n; q++) {
        const off = a[p * n + q]!;
        if (off * off <= 1e-30 * all) continue;
        const theta = (a[q * n + q]! - a[p * n + p]!) / (2 * off);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const c = 1 / Math.sqrt(t * t + 1);
        turnRows(a, n, [p, q], [c, t * c]);
        turnColumns(a, n, [p, q], [c, t * c]);
        turnRows(vectors, n, [p, q], [c, t * c]);
      }
  }
  return { values: Float64Array.from({ length: n }, (_, i) => a[i * n + i]!), vectors };
}

type Pair = readonly [number, number];

function turnRows(a: Float64Array, n: number, [p, q]: Pair, [c, s]: Pair): void {
  for (let i = 0, x = p * n, y = q * n; i < n; i++, x++, y++) {
    const [b, d] = [a[x]!, a[y]!];
    a[x] = c * b - s * d;
    a[y] = s * b + c * d;
  }
}

function turnColumns(a: Float64Array, n: number, [p, q]: Pair, [c, s]: Pair): void {
  for (let i = 0, x = p, y = q; i < n; i++, x += n, y += n) {
    const [b, d] = [a[x]!, a[y]!];
    a[x] = c * b - s * d;
    a[y] = s * b + c * d;
  }
}

/** Columns made orthonormal one after the other, twice, in double precision. @param columns [n, count] */
function orthonormal(columns: Tensor): Tensor {
  const [n, count] = columns.shape as [number, number];
  const rows = Float64Array.from(tf.transpose(columns).dataSync()); // column by column
  for (let i = 0; i < count; i++) {
    const own = rows.subarray(i * n, (i + 1) * n);
    for (let pass = 0; pass < 2; pass++)
      for (let j = 0; j < i; j++) {
        const other = rows.subarray(j * n, (j + 1) * n);
        let dot = 0;
        for (let k = 0; k < n; k++) dot += own[k]! * other[k]!;
        for (let k = 0; k < n; k++) own[k] = own[k]! - dot * other[k]!;
      }
    let square = 0;
    for (let k = 0; k < n; k++) square += own[k]! ** 2;
    const length = Math.sqrt(square) || 1;
    for (let k = 0; k < n; k++) own[k] = own[k]! / length;
  }
  return tf.transpose(tf.tensor2d(Float32Array.from(rows), [count, n]));
}

function randomColumns(n: number, count: number): Tensor {
  const random = new Random(0);
  return tf.tensor2d(Float32Array.from({ length: n * count }, () => random.normal()), [n, count]); // biome-ignore format: one call
}
