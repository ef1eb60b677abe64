import { z } from "zod";
import { type LinearSetting, learner, type OnlineLearner } from "./base.ts";

const rate = z
  .number()
  .positive()
  .optional()
  .describe("step size (default: that of the least expected error, which follows from d, sigma and tau)");

const SOURCE = "Akyürek et al. 2023, What learning algorithm is in-context learning?; step sizes derived here";

function product(w: Float64Array, x: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < w.length; i++) sum += w[i]! * x[i]!;
  return sum;
}

/**
 * One step of gradient descent from w = 0 on half the summed squared error of all n pairs: w = rate · Xᵀy.
 * Over x ~ N(0, I), E XᵀX = n I and E (XᵀX)² = n (n + d + 1) I, so that the expected error of w,
 * d tau² (1 - 2 n rate + n (n + d + 1) rate²) + n d sigma² rate², is least at rate = 1 / (n + d + 1 + sigma² / tau²).
 */
class GradientStep implements OnlineLearner {
  readonly #rateOf: (pairs: number) => number;
  readonly #moment: Float64Array; // Xᵀy [d]
  #pairs = 0;

  constructor({ dimension, sigma, tau }: LinearSetting, rate?: number) {
    this.#moment = new Float64Array(dimension);
    this.#rateOf = (pairs) => rate ?? 1 / (pairs + dimension + 1 + (sigma / tau) ** 2);
  }

  get weights(): Float64Array {
    const rate = this.#rateOf(this.#pairs);
    return this.#moment.map((value) => rate * value);
  }

  predict(x: ArrayLike<number>): number {
    return this.#rateOf(this.#pairs) * product(this.#moment, x);
  }

  observe(x: ArrayLike<number>, y: number): void {
    this.#moment.forEach((value, i) => {
      this.#moment[i] = value + y * x[i]!;
    });
    this.#pairs++;
  }
}

/**
 * Stochastic gradient descent from w = 0, one step for each pair in order: w ← w + rate (y - w · x) x.
 * With v the variance of a coordinate of w's error (tau² at first), the expected error after a step over x ~ N(0, I) is
 * v (1 - 2 rate + (d + 2) rate²) + sigma² rate², least at rate = v / ((d + 2) v + sigma²), where it is v (1 - rate).
 */
class StochasticSteps implements OnlineLearner {
  readonly #setting: LinearSetting;
  readonly #rate: number | undefined;
  readonly #w: Float64Array;
  #variance: number;

  constructor(setting: LinearSetting, rate?: number) {
    this.#setting = setting;
    this.#rate = rate;
    this.#w = new Float64Array(setting.dimension);
    this.#variance = setting.tau ** 2;
  }

  get weights(): Float64Array {
    return this.#w.slice();
  }

  predict(x: ArrayLike<number>): number {
    return product(this.#w, x);
  }

  observe(x: ArrayLike<number>, y: number): void {
    const { dimension, sigma } = this.#setting;
    const best = this.#variance / ((dimension + 2) * this.#variance + sigma ** 2);
    this.#variance *= 1 - best;
    const step = (this.#rate ?? best) * (y - this.predict(x));
    this.#w.forEach((value, i) => {
      this.#w[i] = value + step * x[i]!;
    });
  }
}

/** One step of gradient descent on all pairs. */
export const gradientStep = learner({
  name: "gradient-step",
  title: "one step of gradient descent",
  description: "One step from w = 0 on the squared error of all pairs so far: w = rate · Xᵀy.",
  source: SOURCE,
  parameters: z.object({ rate }),
  start: (setting, params) => new GradientStep(setting, params.rate),
});

/** One epoch of stochastic gradient descent. */
export const stochasticGradient = learner({
  name: "sgd",
  title: "one epoch of stochastic gradient descent",
  description: "One step from w = 0 for each pair so far, in their order: w ← w + rate (y - w · x) x.",
  source: SOURCE,
  parameters: z.object({ rate }),
  start: (setting, params) => new StochasticSteps(setting, params.rate),
});
