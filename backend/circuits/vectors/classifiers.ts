import type { Classifier } from "../../common/words.ts";

/**
 * Linear classifiers with an L2 penalty on the weights and none on the intercepts, fitted by inner products alone: weights are sums
 * of the training examples, so that few examples of many dimensions cost what few examples cost.
 */

/** Inner products of centred examples, row after row. */
export interface Kernel {
  /** Training examples with one another [train, train]. */
  readonly train: Float64Array;
  /** Tested examples with the training ones [test, train]. */
  readonly test: Float64Array;
}

/** A class for each training example, from 0. */
export type Labels = readonly number[];

/** Coefficients of the training examples [train][classes], and the intercepts [classes]. */
interface Fit {
  readonly weights: readonly Float64Array[];
  readonly intercepts: Float64Array;
}

/**
 * Fits a classifier to each of some labellings of the same examples, and predicts the tested ones.
 * @param l2 factor of the penalty: ridge |Y - XW|² + l2 |W|², logistic the sum of losses + l2 / 2 |W|²
 * @returns by labelling, the class of each tested example
 */
export function classify(method: Classifier, kernel: Kernel, labellings: readonly Labels[], l2: number): number[][] {
  const classes = Math.max(...labellings.flat()) + 1;
  const fits = method === "ridge" ? ridge(kernel, labellings, classes, l2) : labellings.map((labels) => logistic(kernel, labels, classes, l2)); // biome-ignore format: one line
  return fits.map((fit) => predict(kernel, fit, classes));
}

function predict({ test }: Kernel, { weights, intercepts }: Fit, classes: number): number[] {
  const n = weights.length;
  return Array.from({ length: test.length / n }, (_, t) => {
    const scores = intercepts.slice();
    for (let i = 0; i < n; i++) for (let c = 0; c < classes; c++) scores[c]! += test[t * n + i]! * weights[i]![c]!;
    return scores.indexOf(Math.max(...scores));
  });
}

/** Ridge regression on the classes as 0 and 1, all labellings from one decomposition of K + l2. */
function ridge({ train }: Kernel, labellings: readonly Labels[], classes: number, l2: number): Fit[] {
  const n = labellings[0]!.length;
  const lower = cholesky(train, n, l2);
  return labellings.map((labels) => {
    const shares = new Float64Array(classes);
    for (const label of labels) shares[label]! += 1 / n;
    const columns = Array.from({ length: classes }, (_, c) =>
      solve(
        lower,
        Float64Array.from(labels, (label) => (label === c ? 1 : 0) - shares[c]!),
      ),
    );
    return { weights: labels.map((_, i) => Float64Array.from(columns, (column) => column[i]!)), intercepts: shares };
  });
}

/** Lower triangle L of K + l2 = L Lᵀ, row after row [n, n]. */
function cholesky(matrix: Float64Array, n: number, l2: number): Float64Array {
  const lower = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = matrix[i * n + j]! + (i === j ? l2 : 0);
      for (let k = 0; k < j; k++) sum -= lower[i * n + k]! * lower[j * n + k]!;
      lower[i * n + j] = i === j ? Math.sqrt(Math.max(sum, Number.MIN_VALUE)) : sum / lower[j * n + j]!;
    }
  }
  return lower;
}

/** Solution of L Lᵀ x = b. */
function solve(lower: Float64Array, b: Float64Array): Float64Array {
  const n = b.length;
  const x = b.slice();
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i]! -= lower[i * n + k]! * x[k]!;
    x[i]! /= lower[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i]! -= lower[k * n + i]! * x[k]!;
    x[i]! /= lower[i * n + i]!;
  }
  return x;
}

const MOST_STEPS = 1_000;
/** Largest entry of a gradient at which a fit has settled. */
const SETTLED = 1e-4;

/** Multinomial logistic regression by Nesterov's accelerated gradient, in the coefficients of the examples. */
function logistic({ train }: Kernel, labels: Labels, classes: number, l2: number): Fit {
  const n = labels.length;
  // The softmax's curvature is at most a half; the largest eigenvalue of K at most its trace, and n for the intercepts.
  const rate = 1 / (0.5 * (largestEigenvalue(train, n) + n) + l2);
  let weights = labels.map(() => new Float64Array(classes));
  let intercepts = new Float64Array(classes);
  let [ahead, aheadIntercepts] = [weights.map((row) => row.slice()), intercepts.slice()];
  for (let step = 0; step < MOST_STEPS; step++) {
    const errors = errorsOf(train, ahead, aheadIntercepts, labels);
    const next = ahead.map((row, i) => row.map((w, c) => w - rate * (errors[i]![c]! + l2 * w)));
    const nextIntercepts = aheadIntercepts.map((b, c) => b - rate * errors.reduce((sum, error) => sum + error[c]!, 0));
    const pull = step / (step + 3);
    const moved = Math.max(...next.flatMap((row, i) => [...row].map((w, c) => Math.abs(w - ahead[i]![c]!)))) / rate;
    ahead = next.map((row, i) => row.map((w, c) => w + pull * (w - weights[i]![c]!)));
    aheadIntercepts = nextIntercepts.map((b, c) => b + pull * (b - intercepts[c]!));
    [weights, intercepts] = [next, nextIntercepts];
    if (moved < SETTLED) break;
  }
  return { weights, intercepts };
}

/** Predicted probabilities less the truth [examples][classes]. */
function errorsOf(
  train: Float64Array,
  weights: readonly Float64Array[],
  intercepts: Float64Array,
  labels: Labels,
): Float64Array[] {
  const n = labels.length;
  return labels.map((label, i) => {
    const scores = intercepts.slice();
    for (let j = 0; j < n; j++) {
      const product = train[i * n + j]!;
      for (let c = 0; c < scores.length; c++) scores[c]! += product * weights[j]![c]!;
    }
    const largest = Math.max(...scores);
    const powers = scores.map((score) => Math.exp(score - largest));
    const sum = powers.reduce((a, b) => a + b, 0);
    return powers.map((power, c) => power / sum - (c === label ? 1 : 0));
  });
}

/** The largest eigenvalue of a symmetric matrix without negative ones, by the power method and a little above. */
function largestEigenvalue(matrix: Float64Array, n: number): number {
  let x = Float64Array.from({ length: n }, (_, i) => 1 + Math.sin(i));
  let size = 0;
  for (let step = 0; step < 30; step++) {
    const next = new Float64Array(n);
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) next[i]! += matrix[i * n + j]! * x[j]!;
    size = Math.hypot(...next);
    if (size === 0) return 0;
    x = next.map((value) => value / size);
  }
  return 1.2 * size;
}
