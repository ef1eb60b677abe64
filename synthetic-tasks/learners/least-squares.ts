import type { OnlineLearner } from "./base.ts";

/** Share of x outside the span of the pairs before it, squared, that counts as rounding. */
const ROUNDING = 1e-12;

/**
 * Ordinary least squares, one pair after another: of all w that fit best, the shortest. With noise and many pairs it goes on
 * learning where `RidgePosterior` without noise has found the one w that fits its first d pairs.
 * @see Albert and Sittler 1966, A method for computing least squares estimators that keep up with the data
 */
export class LeastSquares implements OnlineLearner {
  readonly #w: Float64Array; // [d]
  readonly #outside: Float64Array; // projection on what no pair has shown [d, d]
  readonly #inverse: Float64Array; // pseudo-inverse of XᵀX [d, d]

  /** @param d dimension */
  constructor(d: number) {
    this.#w = new Float64Array(d);
    this.#outside = new Float64Array(d * d);
    this.#inverse = new Float64Array(d * d);
    for (let i = 0; i < d; i++) this.#outside[i * d + i] = 1;
  }

  get weights(): Float64Array {
    return this.#w.slice();
  }

  predict(x: ArrayLike<number>): number {
    return dot(this.#w, x);
  }

  observe(x: ArrayLike<number>, y: number): void {
    const fresh = product(this.#outside, x); // the part of x that is new
    const shown = product(this.#inverse, x);
    const size = dot(fresh, x);
    const spread = 1 + dot(shown, x);
    const isNew = size > ROUNDING * dot(Float64Array.from(x), x);
    const gain = isNew ? fresh.map((value) => value / size) : shown.map((value) => value / spread);
    const surprise = y - this.predict(x);
    const d = this.#w.length;
    for (let i = 0; i < d; i++) {
      this.#w[i]! += gain[i]! * surprise;
      for (let j = 0; j < d; j++) {
        const at = i * d + j;
        this.#inverse[at]! += isNew
          ? spread * gain[i]! * gain[j]! - shown[i]! * gain[j]! - gain[i]! * shown[j]!
          : -gain[i]! * shown[j]!;
        if (isNew) this.#outside[at]! -= gain[i]! * fresh[j]!;
      }
    }
  }
}

function dot(a: Float64Array, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** @param matrix [d, d] @param x [d] @returns [d] */
function product(matrix: Float64Array, x: ArrayLike<number>): Float64Array {
  const d = x.length;
  return Float64Array.from({ length: d }, (_, i) => dot(matrix.subarray(i * d, (i + 1) * d), x));
}
