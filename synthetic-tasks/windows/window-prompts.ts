import type { Batch } from "../../backend/training/task.ts";
import { promptPositions } from "../learners/prompts.ts";
import { RidgePosterior } from "../learners/ridge.ts";

/** The law that window prompts are drawn from. */
export interface WindowLaw {
  /** Numbers of an x. */
  readonly dimension: number;
  /** Inputs that a y depends on: its own x and those before it. */
  readonly window: number;
  /** Pairs of a sequence; the last y is only predicted. */
  readonly examples: number;
  /** Standard deviation of the noise of y. */
  readonly sigma: number;
  /** Standard deviation of each weight. */
  readonly tau: number;
}

/** Variance of a y whose window is full. */
export function labelPower({ dimension, window, sigma, tau }: WindowLaw): number {
  return dimension * window * tau ** 2 + sigma ** 2;
}

/** x_i, x_(i-1), …, as many as the window has [window · dimension]; 0 before the first. @param x of a row [examples, dimension] */
export function windowOf(x: Float32Array, i: number, { dimension: d, window }: Pick<WindowLaw, "dimension" | "window">): Float64Array {
  const values = new Float64Array(window * d);
  for (let back = 0; back < Math.min(window, i + 1); back++)
    values.set(x.subarray((i - back) * d, (i - back + 1) * d), back * d);
  return values;
} // biome-ignore format: one line

/** x of a row [examples, dimension], and its y's as the model reads them [examples - 1]. */
export function shownPairs({ dimension: d, examples }: WindowLaw, { inputs }: Batch, row: number) {
  const positions = promptPositions({ examples });
  const x = new Float32Array(examples * d);
  const y = new Float32Array(examples - 1);
  for (let i = 0; i < examples; i++) {
    const at = (row * positions + 2 * i) * d;
    x.set(inputs!.subarray(at, at + d), i * d);
    if (i < examples - 1) y[i] = inputs![at + d]!;
  }
  return { x, y };
}

/**
 * The best linear predictions of every y from the pairs before it [rows, examples], where a share of the labels is random: a label that is
 * read has the mean (1 - share) w · φ over the window φ, and about it the variance
 * share (1 - share) tau² |φ|² + (1 - share) sigma² + share · `labelPower`. Without random labels it is Bayes' prediction.
 * @param read inputs that the predictor reads, default the whole window; those that it leaves out are noise to it
 */
export function predictWindows(law: WindowLaw, batch: Batch, { share = 0, read = law.window } = {}): Float64Array {
  const { dimension: d, window, examples, tau } = law;
  const ignored = (window - read) * d * tau ** 2;
  const noise = (1 - share) * (law.sigma ** 2 + ignored) + share * labelPower(law);
  const predictions = new Float64Array(batch.rows * examples);
  for (let row = 0; row < batch.rows; row++) {
    const { x, y } = shownPairs(law, batch, row);
    const posterior = new RidgePosterior(read * d, { sigma: 1, tau });
    for (let i = 0; i < examples; i++) {
      const own = windowOf(x, i, { dimension: d, window: read });
      predictions[row * examples + i] = posterior.predict(own);
      if (i === examples - 1 || share === 1) continue;
      const length = own.reduce((sum, value) => sum + value ** 2, 0);
      const deviation = Math.sqrt(noise + share * (1 - share) * tau ** 2 * length);
      posterior.observe(
        own.map((value) => ((1 - share) * value) / deviation),
        y[i]! / deviation,
      );
    }
  }
  return predictions;
}
