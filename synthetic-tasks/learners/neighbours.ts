import { z } from "zod";
import { learner, type OnlineLearner } from "./base.ts";

/** Predicts the mean y of the nearest pairs. */
class Neighbours implements OnlineLearner {
  readonly #k: number;
  readonly #pairs: { readonly x: Float64Array; readonly y: number }[] = [];

  constructor(k: number) {
    this.#k = k;
  }

  predict(x: ArrayLike<number>): number {
    const distance = (other: Float64Array) => other.reduce((sum, value, i) => sum + (value - x[i]!) ** 2, 0);
    const sorted = this.#pairs.map((pair) => ({ y: pair.y, far: distance(pair.x) })).sort((a, b) => a.far - b.far);
    const near = sorted.slice(0, this.#k);
    return near.length === 0 ? 0 : near.reduce((sum, { y }) => sum + y, 0) / near.length;
  }

  observe(x: ArrayLike<number>, y: number): void {
    this.#pairs.push({ x: Float64Array.from(x), y });
  }
}

/** k nearest neighbours. */
export const nearestNeighbours = learner({
  name: "k-nearest",
  title: "k nearest neighbours",
  description:
    "The mean y of the k pairs whose x is nearest, of all pairs where there are fewer, 0 without any; no linear function.",
  source: "Akyürek et al. 2023, What learning algorithm is in-context learning?",
  parameters: z.object({ k: z.int().min(1).max(1024).default(3).describe("neighbours") }),
  start: (_, { k }) => new Neighbours(k),
});
