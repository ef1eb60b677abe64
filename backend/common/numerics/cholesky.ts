import type { Matrix } from "./matrix.ts";

/** Lower triangle L of A + l2 = L Lᵀ. @param a symmetric [n, n], without negative eigenvalues */
export function cholesky({ rows: n, data }: Matrix, l2: number): Matrix {
  const lower = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = data[i * n + j]! + (i === j ? l2 : 0);
      for (let k = 0; k < j; k++) sum -= lower[i * n + k]! * lower[j * n + k]!;
      lower[i * n + j] = i === j ? Math.sqrt(Math.max(sum, Number.MIN_VALUE)) : sum / lower[j * n + j]!;
    }
  }
  return { rows: n, columns: n, data: lower };
}

/** Solution X of L Lᵀ X = B, column by column. @param lower L [n, n] @param right B [n, columns] */
export function solve({ rows: n, data: lower }: Matrix, { columns, data }: Matrix): Matrix {
  const x = data.slice();
  for (let c = 0; c < columns; c++) {
    for (let i = 0; i < n; i++) {
      let sum = x[i * columns + c]!;
      for (let k = 0; k < i; k++) sum -= lower[i * n + k]! * x[k * columns + c]!;
      x[i * columns + c] = sum / lower[i * n + i]!;
    }
    for (let i = n - 1; i >= 0; i--) {
      let sum = x[i * columns + c]!;
      for (let k = i + 1; k < n; k++) sum -= lower[k * n + i]! * x[k * columns + c]!;
      x[i * columns + c] = sum / lower[i * n + i]!;
    }
  }
  return { rows: n, columns, data: x };
}
