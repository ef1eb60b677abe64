/** A table of numbers in double precision, row after row. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  /** [rows, columns] */
  readonly data: Float64Array;
}

/** A matrix of rows of numbers. @param rows at least one, of equal lengths */
export function matrixOf(rows: readonly ArrayLike<number>[]): Matrix {
  const columns = rows[0]!.length;
  const data = new Float64Array(rows.length * columns);
  rows.forEach((row, i) => {
    data.set(row, i * columns);
  });
  return { rows: rows.length, columns, data };
}

/** The product of two matrices [a.rows, b.columns]. */
export function product(a: Matrix, b: Matrix): Matrix {
  const data = new Float64Array(a.rows * b.columns);
  for (let i = 0; i < a.rows; i++)
    for (let k = 0; k < a.columns; k++) {
      const factor = a.data[i * a.columns + k]!;
      if (factor === 0) continue;
      for (let j = 0; j < b.columns; j++) data[i * b.columns + j]! += factor * b.data[k * b.columns + j]!;
    }
  return { rows: a.rows, columns: b.columns, data };
}

/** The transpose of a matrix. */
export function transposed({ rows, columns, data }: Matrix): Matrix {
  const turned = new Float64Array(data.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) turned[j * rows + i] = data[i * columns + j]!;
  return { rows: columns, columns: rows, data: turned };
}
