import { cholesky, solve } from "../../common/numerics/cholesky.ts";
import { type Matrix, product, transposed } from "../../common/numerics/matrix.ts";
import type { Labels, Linear } from "./linear.ts";
import { logistic } from "./logistic.ts";

/**
 * Linear fits with an L2 penalty on the weights and none on the intercepts, of centred examples. Double precision throughout.
 */

/** Examples that are fitted and examples that are tested, alike in their dimensions. */
export interface Examples {
  readonly train: Matrix;
  readonly test: Matrix;
}

/** Outputs of a linear function [examples, outputs]. */
export function outputsOf({ weights, intercepts }: Linear, examples: Matrix): Matrix {
  const scores = product(examples, weights);
  return { ...scores, data: scores.data.map((value, i) => value + intercepts[i % scores.columns]!) };
}

/**
 * Fits a classifier to each of some labellings of the same examples, and predicts the tested ones.
 * @param l2 factor of the penalty: ridge |Y - XW|² + l2 |W|² on classes as 0 and 1, logistic the sum of losses + l2 / 2 |W|²
 * @returns by labelling, the class of each tested example
 */
export function classify(
  method: "ridge" | "logistic",
  { train, test }: Examples,
  labellings: readonly Labels[],
  l2: number,
): number[][] {
  const classes = Math.max(...labellings.flat()) + 1;
  const fits =
    method === "ridge"
      ? ridge(train, labellings.map((labels) => oneHot(labels, classes)), l2)
      : labellings.map((labels) => logistic(train, labels, classes, l2)); // biome-ignore format: a case a line
  return fits.map((fit) => {
    const { rows, columns, data } = outputsOf(fit, test);
    return Array.from({ length: rows }, (_, t) => {
      const scores = data.subarray(t * columns, (t + 1) * columns);
      return scores.indexOf(Math.max(...scores));
    });
  });
}

function oneHot(labels: Labels, classes: number): Matrix {
  const data = new Float64Array(labels.length * classes);
  labels.forEach((label, i) => {
    data[i * classes + label] = 1;
  });
  return { rows: labels.length, columns: classes, data };
}

/**
 * Ridge regression of each of some tables of targets on the same centred examples, all from one decomposition: of XᵀX + l2, or,
 * with fewer examples than dimensions, of XXᵀ + l2, which gives the same weights.
 * @param x [examples, dimensions] @param targets each [examples, outputs]
 */
export function ridge(x: Matrix, targets: readonly Matrix[], l2: number): Linear[] {
  const { rows: n, columns: d } = x;
  const dual = n < d;
  const lower = cholesky(dual ? product(x, transposed(x)) : product(transposed(x), x), l2);
  return targets.map((y) => {
    const intercepts = meansOf(y);
    const centred = { ...y, data: y.data.map((value, i) => value - intercepts[i % y.columns]!) };
    const weights = dual
      ? product(transposed(x), solve(lower, centred))
      : solve(lower, product(transposed(x), centred));
    return { weights, intercepts };
  });
}

/** Means of the columns. */
export function meansOf({ rows, columns, data }: Matrix): Float64Array {
  const means = new Float64Array(columns);
  data.forEach((value, i) => {
    means[i % columns]! += value / rows;
  });
  return means;
}
