import { softmax } from "../../backend/common/numerics/softmax.ts";
import type { OnlineLearner } from "../learners/base.ts";
import type { RegressionPrompts } from "../learners/prompts.ts";
import { RidgePosterior } from "../learners/ridge.ts";
import type { FunctionFamily, Mixture } from "./family.ts";

/** A normal law of y, or the mean and the variance of another one. */
export interface Moments {
  readonly mean: number;
  readonly variance: number;
}

/**
 * The posterior over one family's functions. With w = mean + deviation · v it is Bayesian linear regression of y - mean · φ(x) on
 * deviation · φ(x), where v ~ N(0, I); weights that have no deviation are left out of it.
 */
class FamilyPosterior {
  readonly #family: FunctionFamily;
  readonly #features: Float64Array; // φ(x) [size]
  readonly #free: readonly number[]; // places of weights with a deviation
  readonly #inputs: Float64Array; // deviation · φ(x) of those
  readonly #posterior: RidgePosterior;

  constructor(family: FunctionFamily) {
    this.#family = family;
    this.#features = new Float64Array(family.basis.size);
    this.#free = [...family.deviation.keys()].filter((j) => family.deviation[j]! > 0);
    this.#inputs = new Float64Array(this.#free.length);
    this.#posterior = new RidgePosterior(this.#free.length, { sigma: family.sigma, tau: 1 });
  }

  /** Law of y at x. @param x [d] */
  at(x: ArrayLike<number>): Moments {
    const offset = this.#read(x);
    return { mean: offset + this.#posterior.predict(this.#inputs), variance: this.#posterior.variance(this.#inputs) };
  }

  observe(x: ArrayLike<number>, y: number): void {
    const offset = this.#read(x);
    this.#posterior.observe(this.#inputs, y - offset);
  }

  /** Writes the inputs of the regression. @returns mean · φ(x) */
  #read(x: ArrayLike<number>): number {
    const { basis, mean, deviation } = this.#family;
    basis.write(x, this.#features);
    this.#free.forEach((j, at) => {
      this.#inputs[at] = deviation[j]! * this.#features[j]!;
    });
    return this.#features.reduce((sum, value, j) => sum + value * mean[j]!, 0);
  }
}

/**
 * Bayes' predictor for a mixture of families: the mean of y given the pairs so far, each family's posterior mean weighted by the
 * family's posterior, which is its share times the evidence of the pairs, the product of the densities with which it foretold each y.
 * Evidences are kept as logarithms and weighed by log-sum-exp. Families without deviations are single functions: with them alone it is
 * the discrete posterior mean (dMMSE).
 * @see Ahuja et al. 2024, In-Context Learning through the Bayesian Prism, section 2
 */
export class MixturePosterior implements OnlineLearner {
  readonly #members: readonly FamilyPosterior[];
  readonly #logs: Float64Array; // log of share · evidence [families]

  constructor(mixture: Mixture) {
    this.#members = mixture.map(({ family }) => new FamilyPosterior(family));
    this.#logs = Float64Array.from(mixture, ({ share }) => Math.log(share));
  }

  /** Posterior probability of each family [families]. */
  get shares(): Float64Array {
    return softmax(this.#logs);
  }

  /** Mean and variance of y at x: the variance is the families' own, and that of their means. @param x [d] */
  at(x: ArrayLike<number>): Moments {
    const { shares } = this;
    const laws = this.#members.map((member) => member.at(x));
    const mean = laws.reduce((sum, law, f) => sum + shares[f]! * law.mean, 0);
    const variance = laws.reduce((sum, law, f) => sum + shares[f]! * (law.variance + (law.mean - mean) ** 2), 0);
    return { mean, variance };
  }

  predict(x: ArrayLike<number>): number {
    return this.at(x).mean;
  }

  observe(x: ArrayLike<number>, y: number): void {
    this.#members.forEach((member, f) => {
      this.#logs[f]! -= normalLoss(member.at(x), y);
      member.observe(x, y);
    });
  }
}

/** Negative logarithm of a normal law's density at y: the Gaussian loss, in nats. */
export function normalLoss({ mean, variance }: Moments, y: number): number {
  return 0.5 * (Math.log(2 * Math.PI * variance) + (y - mean) ** 2 / variance);
}

/** Law of every y of prompts, given its x and the pairs before it [rows * examples]. */
export function promptMoments(mixture: Mixture, { rows, examples, x, y }: RegressionPrompts): Moments[] {
  const d = x.length / (rows * examples);
  return Array.from({ length: rows }, (_, row) => {
    const posterior = new MixturePosterior(mixture);
    return Array.from({ length: examples }, (__, i) => {
      const pair = row * examples + i;
      const own = x.subarray(pair * d, (pair + 1) * d);
      const law = posterior.at(own);
      posterior.observe(own, y[pair]!);
      return law;
    });
  }).flat();
}
