import type { Tensor } from "@tensorflow/tfjs";
import { eigen } from "../../../common/numerics/symmetric-eigen.ts";
import { Random } from "../../../common/random.ts";
import { tf } from "../../../runtime/tf.ts";

/** Directions beside those wanted that a search for them goes along. */
const BESIDE = 16;
/** Columns that are made orthonormal one by one, against those before in products. */
const TOGETHER = 16;
/** Products with the Gram matrix of a search. */
const ROUNDS = 4;

/**
 * The directions in which rows are largest: right singular vectors of the largest singular values, without centring.
 * @param rows [rows, channels]
 * @param rank at most channels
 * @returns [channels, rank], orthonormal
 * @see Halko, Martinsson and Tropp 2011 for the search where rank is far below the channels: then nearly these directions
 */
export function principalDirections(rows: Tensor, rank: number): Tensor {
  const channels = rows.shape[1]!;
  if (rank >= channels) return tf.eye(channels); // all directions, of which none need be looked for
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
 * Columns made orthonormal, block after block: what lies along those before goes in large products, then each block's own are
 * made so. Twice, which is enough (Kahan and Parlett, in Parlett 1980).
 * @param columns [n, count]
 */
function orthonormal(columns: Tensor): Tensor {
  const [n, count] = columns.shape as [number, number];
  let basis: Tensor | undefined;
  for (let i = 0; i < count; i += TOGETHER) {
    let block: Tensor = tf.slice(columns, [0, i], [n, Math.min(TOGETHER, count - i)]);
    for (let pass = 0; pass < 2; pass++) {
      if (basis) block = tf.sub(block, tf.matMul(basis, tf.matMul(basis, block, true, false)));
      block = orthonormalBlock(block);
    }
    basis = basis ? tf.concat([basis, block], 1) : block;
  }
  return basis!;
}

/** Columns made orthonormal one after the other, twice, in double precision. @param columns [n, count] */
function orthonormalBlock(columns: Tensor): Tensor {
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
