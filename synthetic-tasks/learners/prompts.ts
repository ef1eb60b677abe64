import type { Batch } from "../../backend/training/task.ts";
import type { OnlineLearner } from "./base.ts";
import { LeastSquares } from "./least-squares.ts";

/** Prompts of a regression: pairs of several rows. */
export interface RegressionPrompts {
  readonly rows: number;
  /** Pairs of a row, the last one's y included. */
  readonly examples: number;
  /** [rows, examples, d] */
  readonly x: Float32Array | Float64Array;
  /** [rows, examples] */
  readonly y: Float32Array | Float64Array;
}

/** Positions of a prompt as models read it: x, y, x, …; the last y is never read. */
export function promptPositions({ examples }: Pick<RegressionPrompts, "examples">): number {
  return 2 * examples - 1;
}

/** Prompts as models read them: x_1, y_1, x_2, … as rows of d numbers, y as (y, 0, …); at every x its y is predicted. */
export function promptBatch({ rows, examples, x, y }: RegressionPrompts): Batch {
  const d = x.length / (rows * examples);
  const positions = promptPositions({ examples });
  const inputs = new Float32Array(rows * positions * d); // [rows, positions, d]
  const values = new Float32Array(rows * positions); // [rows, positions, 1]
  const weights = new Float32Array(rows * positions);
  for (let pair = 0; pair < rows * examples; pair++) {
    const i = pair % examples;
    const position = Math.floor(pair / examples) * positions + 2 * i;
    inputs.set(x.subarray(pair * d, (pair + 1) * d), position * d);
    values[position] = y[pair]!;
    weights[position] = 1;
    if (i < examples - 1) inputs[(position + 1) * d] = y[pair]!;
  }
  return { rows, inputs, values, weights };
}

/** The pairs of a batch, without the layout that models read. @param size `dimension` is the length of an x */
export function regressionPrompts(
  { dimension: d, examples }: { dimension: number; examples: number },
  { rows, inputs, values }: Batch,
): RegressionPrompts {
  const positions = promptPositions({ examples });
  const x = new Float32Array(rows * examples * d);
  const y = new Float32Array(rows * examples);
  for (let pair = 0; pair < rows * examples; pair++) {
    const at = Math.floor(pair / examples) * positions + 2 * (pair % examples);
    x.set(inputs!.subarray(at * d, (at + 1) * d), pair * d);
    y[pair] = values![at]!;
  }
  return { rows, examples, x, y };
}

/**
 * Predicts every y of prompts from its x and the pairs before it.
 * @param start gives the learner before the first pair of a row
 * @returns [rows, examples]
 */
export function predictPrompts(start: (row: number) => OnlineLearner, prompts: RegressionPrompts): Float64Array {
  const { rows, examples, x, y } = prompts;
  const d = x.length / (rows * examples);
  const predictions = new Float64Array(rows * examples);
  for (let row = 0; row < rows; row++) {
    const learner = start(row);
    for (let at = row * examples; at < (row + 1) * examples; at++) {
      const own = x.subarray(at * d, (at + 1) * d);
      predictions[at] = learner.predict(own);
      learner.observe(own, y[at]!);
    }
  }
  return predictions;
}

/** The linear function nearest to some predictions. */
export interface ImpliedWeights {
  /** w of the least squared difference between w · x and the predictions [d]. */
  readonly weights: Float64Array;
  /** Share of the predictions' sum of squares that w · x has; 1 where they are linear in x, or all 0. */
  readonly linearity: number;
}

/**
 * Fits the weights that predictions on fresh queries imply, all made from one context.
 * @param queries [count, d], at least d of them
 * @param predictions [count]
 * @see Akyürek et al. 2023, equation of the implicit linear weight difference (ILWD)
 */
export function impliedWeights(queries: Float32Array | Float64Array, predictions: ArrayLike<number>): ImpliedWeights {
  const d = queries.length / predictions.length;
  const fit = new LeastSquares(d);
  const each = Array.from(predictions, (y, q) => ({ x: queries.subarray(q * d, (q + 1) * d), y }));
  for (const { x, y } of each) fit.observe(x, y);
  const missed = each.reduce((sum, { x, y }) => sum + (y - fit.predict(x)) ** 2, 0);
  const all = each.reduce((sum, { y }) => sum + y ** 2, 0);
  return { weights: fit.weights, linearity: all === 0 ? 1 : 1 - missed / all };
}
