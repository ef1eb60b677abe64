import { RidgePosterior } from "./ridge.ts";

/** Most of Newton's steps; about ten are usual. */
const MOST_STEPS = 100;
/** Most halvings of a step that would lead uphill. */
const MOST_HALVINGS = 40;
/** Largest change of a weight, in standard deviations of the prior, at which the weights have settled. */
const SETTLED = 1e-9;

/**
 * Bayesian logistic regression, one pair after another: P(y = 1) = 1 / (1 + exp(-w · x)), w ~ N(0, tau² I). The posterior is taken for the
 * normal law around its mode whose covariance is the inverse curvature there (Laplace). Each of Newton's steps to the mode is a weighted
 * ridge regression, of which the last one also has the covariance.
 * @see Bishop 2006, Pattern Recognition and Machine Learning, sections 4.3.3 and 4.5
 */
export class LogisticPosterior {
  readonly #tau: number;
  readonly #pairs: { readonly x: Float64Array; readonly sign: number }[] = [];
  #mode: Float64Array; // [d]
  #curvature: RidgePosterior;

  /** @param d dimension @param tau standard deviation of each weight */
  constructor(d: number, tau: number) {
    this.#tau = tau;
    this.#mode = new Float64Array(d);
    this.#curvature = new RidgePosterior(d, { sigma: 1, tau });
  }

  /** The likeliest weights [d]. */
  get mode(): Float64Array {
    return this.#mode.slice();
  }

  /**
   * Probability that y is 1, by MacKay's approximation of the mean over the posterior: σ(w · x / sqrt(1 + π v / 8)) with v the variance of w · x.
   * @param x [d]
   */
  probability(x: ArrayLike<number>): number {
    const variance = this.#curvature.variance(x) - 1;
    return sigmoid(dot(this.#mode, x) / Math.sqrt(1 + (Math.PI * Math.max(0, variance)) / 8));
  }

  /** Takes a pair into account. @param x [d] @param y 0 or 1 */
  observe(x: ArrayLike<number>, y: number): void {
    this.#pairs.push({ x: Float64Array.from(x), sign: y === 1 ? 1 : -1 });
    let loss = this.#loss(this.#mode);
    for (let step = 0; step < MOST_STEPS; step++) {
      const target = this.#regression().mean;
      let next = target;
      for (let halving = 0; halving < MOST_HALVINGS && this.#loss(next) > loss; halving++)
        next = next.map((w, j) => (w + this.#mode[j]!) / 2);
      const moved = next.reduce((most, w, j) => Math.max(most, Math.abs(w - this.#mode[j]!)), 0);
      const reached = this.#loss(next);
      if (reached > loss) break; // as near as rounding lets it come
      this.#mode = next;
      loss = reached;
      if (moved <= SETTLED * this.#tau) break;
    }
    this.#curvature = this.#regression();
  }

  /** Newton's step: pairs weigh as the curvature of their losses, and ask for the logit at which that loss would be least. */
  #regression(): RidgePosterior {
    const regression = new RidgePosterior(this.#mode.length, { sigma: 1, tau: this.#tau });
    for (const { x, sign } of this.#pairs) {
      const margin = sign * dot(this.#mode, x);
      const [right, wrong] = [sigmoid(margin), sigmoid(-margin)];
      const root = Math.sqrt(right * wrong);
      if (root === 0) continue; // so far on its side that it says nothing any more
      regression.observe(x.map((value) => root * value), root * sign * margin + (sign * wrong) / root); // biome-ignore format: one line
    }
    return regression;
  }

  /** Negative logarithm of the posterior, but for a constant. */
  #loss(w: Float64Array): number {
    const prior = dot(w, w) / (2 * this.#tau ** 2);
    return this.#pairs.reduce((sum, { x, sign }) => sum + softplus(-sign * dot(w, x)), prior);
  }
}

function sigmoid(logit: number): number {
  return 1 / (1 + Math.exp(-logit));
}

/** log(1 + exp(z)), without overflow. */
function softplus(z: number): number {
  return Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
