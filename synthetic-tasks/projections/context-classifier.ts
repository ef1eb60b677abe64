import { logSoftmax } from "../../backend/common/numerics/softmax.ts";

/** Labelled points of a row. */
export interface LabelledPoints {
  /** [points, dimension] */
  readonly x: Float32Array;
  /** Label of each [points]. */
  readonly labels: ArrayLike<number>;
  readonly dimension: number;
}

/** Variances of the normal laws that points are taken to come from. */
export interface Spread {
  /** Of every number of a class's centre. */
  readonly between: number;
  /** Of every number of a point about its centre. */
  readonly within: number;
}

/**
 * Log-probabilities of the labels of points, each from the points before it [points, labels]: every label has a centre of independent
 * normal numbers, points lie about it, and labels are equally frequent. With a label's n points so far of sum S its centre has the
 * posterior variance v = 1 / (1 / between + n / within) and mean v S / within, and a new point has the variance within + v.
 */
export function classifyInContext(
  { x, labels, dimension }: LabelledPoints,
  count: number,
  spread: Spread,
): Float64Array {
  const { between, within } = spread;
  const points = labels.length;
  const seen = new Float64Array(count);
  const sums = new Float64Array(count * dimension);
  const predictions = new Float64Array(points * count);
  for (let t = 0; t < points; t++) {
    const point = x.subarray(t * dimension, (t + 1) * dimension);
    const own = predictions.subarray(t * count, (t + 1) * count);
    for (let label = 0; label < count; label++) {
      const v = 1 / (1 / between + seen[label]! / within);
      const variance = within + v;
      let squares = 0;
      for (let j = 0; j < dimension; j++) squares += (point[j]! - (v * sums[label * dimension + j]!) / within) ** 2;
      own[label] = -0.5 * (squares / variance + dimension * Math.log(variance));
    }
    own.set(logSoftmax(own));
    const label = labels[t]!;
    seen[label]!++;
    for (let j = 0; j < dimension; j++) sums[label * dimension + j]! += point[j]!;
  }
  return predictions;
}
