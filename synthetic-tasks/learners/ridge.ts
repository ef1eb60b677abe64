/**
 * Bayesian linear regression, one pair after another: y = w · x + noise, w ~ N(0, tau² I), noise ~ N(0, sigma²).
 * The mean of the posterior is ridge regression, (XᵀX + sigma² / tau² I)⁻¹ Xᵀy; conditioning on each pair in turn gives it by the
 * matrix inversion lemma in d² operations a pair, and, unlike a solve of those equations, also without noise and with fewer
 * pairs than dimensions (then it is the shortest w that fits). No linear-algebra library is needed for it.
 */
export class RidgePosterior {
  readonly #noise: number;
  readonly #mean: Float64Array; // [d]
  readonly #covariance: Float64Array; // [d, d]
  readonly #product: Float64Array; // covariance · x [d]

  /** @param d dimension @param sigma standard deviation of the noise @param tau standard deviation of each weight */
  constructor(d: number, { sigma, tau }: { sigma: number; tau: number }) {
    this.#noise = sigma ** 2;
    this.#mean = new Float64Array(d);
    this.#product = new Float64Array(d);
    this.#covariance = new Float64Array(d * d);
    for (let i = 0; i < d; i++) this.#covariance[i * d + i] = tau ** 2;
  }

  /** Mean of the posterior [d]. */
  get mean(): Float64Array {
    return this.#mean.slice();
  }

  /** The best prediction of y. @param x [d] */
  predict(x: ArrayLike<number>): number {
    let y = 0;
    for (let i = 0; i < this.#mean.length; i++) y += this.#mean[i]! * x[i]!;
    return y;
  }

  /** Variance of y at x, that of the noise included. @param x [d] */
  variance(x: ArrayLike<number>): number {
    const d = this.#mean.length;
    let variance = this.#noise;
    for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) variance += x[i]! * this.#covariance[i * d + j]! * x[j]!;
    return variance;
  }

  /** Takes a pair into account. @param x [d] */
  observe(x: ArrayLike<number>, y: number): void {
    const d = this.#mean.length;
    let variance = this.#noise; // of y, before it is seen
    let length = 0;
    let largest = 0;
    for (let i = 0; i < d; i++) {
      let sum = 0;
      for (let j = 0; j < d; j++) sum += this.#covariance[i * d + j]! * x[j]!;
      this.#product[i] = sum;
      variance += sum * x[i]!;
      length += x[i]! ** 2;
      largest = Math.max(largest, this.#covariance[i * d + i]!);
    }
    // Without noise, a y that the pairs before it already determine tells nothing: what is left of its variance is rounding.
    if (variance <= 1e-12 * length * largest) return;
    const surprise = (y - this.predict(x)) / variance;
    for (let i = 0; i < d; i++) {
      this.#mean[i]! += this.#product[i]! * surprise;
      for (let j = 0; j < d; j++) this.#covariance[i * d + j]! -= (this.#product[i]! * this.#product[j]!) / variance;
    }
  }
}
