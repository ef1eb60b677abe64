import { z } from "zod";
import type { Random } from "../backend/common/random.ts";
import { type Batch, type Evaluation, type ProbeTarget, rowOf } from "../backend/training/task.ts";
import { fixed, impossible, task } from "./base.ts";
import type { OnlineLearner } from "./learners/base.ts";
import { gradientStep } from "./learners/gradient.ts";
import { bayes, leastSquares } from "./learners/linear.ts";
import { predictPrompts, promptPositions, regressionPrompts } from "./learners/prompts.ts";

/** Numbers of an x that `describe` shows. */
const SHOWN = 10;

const parameters = z.object({
  dimension: z.int().min(1).max(256).default(8).describe("numbers of an x"),
  examples: z.int().min(1).max(1024).default(20).describe("pairs x, y of a sequence; the last y is only predicted"),
  sigma: z.number().min(0).default(0.25).describe("standard deviation of the noise of y"),
  tau: z.number().positive().default(1).describe("standard deviation of each weight"),
  dimension_start: z.int().min(0).max(256).default(0).describe("curriculum: numbers of an x that are not 0 when training begins, one more each grow_every steps; 0 has all from the start"),
  examples_start: z.int().min(0).max(1024).default(0).describe("curriculum: pairs whose y counts when training begins, two more each grow_every steps; 0 has all from the start"),
  grow_every: z.int().min(1).default(2000).describe("curriculum: steps after which it grows"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** Difference of a sequence from those of training. */
interface Shift {
  /** Standard deviation of x, 1 in training. */
  scale?: number;
  /** Numbers of an x that are not 0, default all. */
  dimensions?: number;
  /** Pairs whose y counts, default all. */
  counted?: number;
}

/** Dimensions and pairs that a curriculum grows by. */
const GROWTH = { dimensions: 1, examples: 2 };

/**
 * The curriculum at a step: dimensions and pairs that have grown from where they start.
 * @see Garg et al. 2022, appendix A.2: 5 to 20 dimensions by 1 and 11 to 41 points by 2 every 2,000 steps
 */
function curriculum(params: Params, step: number): Params {
  const { dimension, examples, dimension_start, examples_start, grow_every } = params;
  const grown = Math.floor((step - 1) / grow_every);
  return {
    ...params,
    dimension_start: Math.min(dimension, (dimension_start || dimension) + GROWTH.dimensions * grown),
    examples_start: Math.min(examples, (examples_start || examples) + GROWTH.examples * grown),
  };
}

function check({ dimension, examples, dimension_start, examples_start }: Params): void {
  const starts = [
    ["dimension", dimension, dimension_start],
    ["examples", examples, examples_start],
  ] as const;
  for (const [name, whole, start] of starts)
    if (start > whole)
      throw impossible(
        "linear-regression",
        [`${name}_start`, name],
        `${name}_start ${start} is more than ${name} ${whole}`,
        "begin with fewer",
      );
}

/** x_1, y_1, x_2, … as rows of `dimension` numbers, y as (y, 0, …); x at even positions is where y is predicted. */
function batch(params: Params, random: Random, rows: number, shift: Shift = {}): Batch {
  const { dimension: d, examples, sigma, tau } = params;
  const { scale = 1, dimensions = d, counted = examples } = shift;
  const positions = promptPositions(params);
  const inputs = new Float32Array(rows * positions * d); // [rows, positions, d]
  const values = new Float32Array(rows * positions); // [rows, positions, 1]
  const weights = new Float32Array(rows * positions);
  const w = new Float32Array(d);
  const x = new Float32Array(examples * d);
  const noise = new Float32Array(examples);
  for (let r = 0; r < rows; r++) {
    random.fillNormal(w);
    random.fillNormal(x);
    random.fillNormal(noise);
    for (let i = 0; i < examples; i++) {
      const position = r * positions + 2 * i;
      let y = sigma * noise[i]!;
      for (let j = 0; j < d; j++) {
        const value = j < dimensions ? scale * x[i * d + j]! : 0;
        inputs[position * d + j] = value;
        y += tau * w[j]! * value;
      }
      values[position] = y;
      if (i < counted) weights[position] = 1;
      if (i < examples - 1) inputs[(position + 1) * d] = y;
    }
  }
  return { rows, inputs, values, weights };
}

/** Error of answering 0 everywhere, the best without a context: the variance of y. */
const guessing =
  (scale: number) =>
  ({ dimension, sigma, tau }: Params) => ({
    loss: dimension * (tau * scale) ** 2 + sigma ** 2,
  });

function evaluation(
  title: string,
  shift: Shift,
  counts: (i: number, params: Params) => boolean,
): Evaluation<Params, null> {
  return {
    title,
    chance: guessing(shift.scale ?? 1),
    sample(_, params, random, rows) {
      const drawn = batch(params, random, rows, shift);
      const positions = promptPositions(params);
      drawn.weights.forEach((_, at) => {
        if (!counts((at % positions) / 2, params)) drawn.weights[at] = 0;
      });
      return drawn;
    },
  };
}

/** Predicts by the mean of the posterior at each x from the pairs before it; 0 at the y's [rows, positions, 1]. */
function posteriorMean(params: Params, batch: Batch): Float64Array {
  const { examples } = params;
  const positions = promptPositions(params);
  const means = predictPrompts(() => bayes.start(params, {}), regressionPrompts(params, batch));
  const predictions = new Float64Array(batch.rows * positions);
  means.forEach((mean, pair) => {
    predictions[Math.floor(pair / examples) * positions + 2 * (pair % examples)] = mean;
  });
  return predictions;
}

/**
 * The weights of a learner at each position: at an x those from the pairs before it, at a y with its own pair too.
 * @param start gives the learner before the first pair
 */
function weightsSoFar(title: string, start: (params: Params) => OnlineLearner): ProbeTarget<Params, null> {
  return {
    title,
    at(_, params, batch) {
      const { dimension: d } = params;
      const positions = promptPositions(params);
      const { rows, examples, x, y } = regressionPrompts(params, batch);
      const values = new Float64Array(rows * positions * d);
      for (let row = 0; row < rows; row++) {
        const learner = start(params);
        for (let t = 0; t < positions; t++) {
          const pair = row * examples + Math.floor(t / 2);
          if (t % 2 === 1) learner.observe(x.subarray(pair * d, (pair + 1) * d), y[pair]!);
          values.set(learner.weights!, (row * positions + t) * d);
        }
      }
      return { kind: "values", width: d, values };
    },
  };
}

/** One row as pairs: x [examples][d], y [examples] and what ridge regression says of it from the pairs before. */
function pairsOf(params: Params, drawn: Batch, row: number) {
  const { dimension: d, examples } = params;
  const one = rowOf(drawn, row);
  const guesses = posteriorMean(params, one);
  const each = Array.from({ length: examples }, (_, i) => 2 * i);
  return {
    inputs: each.map((t) => [...one.inputs!.subarray(t * d, (t + 1) * d)]),
    targets: each.map((t) => one.values![t]!),
    reference: each.map((t) => guesses[t]!),
  };
}

/** Linear regression in context, after Garg et al. */
export const linearRegression = task({
  name: "linear-regression",
  title: "Linear regression in context",
  description:
    "Pairs x, y with y = w · x + noise, w drawn anew for every row: at each x a model predicts y from the pairs before it. " +
    "The reference is ridge regression, the mean of the posterior and so the best prediction there is; its error falls as " +
    "pairs come, and a model that learns to regress in context approaches it. Losses are mean squared errors.",
  source:
    "Garg et al. 2022, What Can Transformers Learn In-Context?; Akyürek et al. 2023 (reference with noise and prior)",
  parameters,
  shape: (params) => ({
    input: { kind: "vectors", width: params.dimension },
    output: { kind: "values", width: 1 },
    positions: promptPositions(params),
    scored: "all",
  }),
  check,
  world: () => null,
  sample: (_, params, random, rows) =>
    batch(params, random, rows, {
      dimensions: params.dimension_start || params.dimension,
      counted: params.examples_start || params.examples,
    }),
  curriculum,
  evaluations: {
    "in-context": evaluation("every x, with all pairs before it as context", {}, () => true),
    last: evaluation("the last x, with the most context", {}, (i, { examples }) => i === examples - 1),
    scaled: evaluation("every x twice as long as in training", { scale: 2 }, () => true),
  },
  reference: {
    title: "ridge regression (mean of the posterior)",
    predict: (_, params, batch) => posteriorMean(params, batch),
  },
  probeTargets: {
    moment: weightsSoFar("the moment vector Xᵀy of the pairs so far", (params) =>
      gradientStep.start(params, { rate: 1 }),
    ),
    "least-squares": weightsSoFar("the weights of least squares from the pairs so far", (params) =>
      leastSquares.start(params, {}),
    ),
    "posterior-mean": weightsSoFar("the mean of the weights' posterior given the pairs so far", (params) =>
      bayes.start(params, {}),
    ),
  },
  describe(_, params, drawn, row) {
    const { inputs, targets, reference } = pairsOf(params, drawn, row);
    const text = (x: number[]): string => (x.length > SHOWN ? `${fixed(x.slice(0, SHOWN))} …` : fixed(x));
    const lines = inputs.map(
      (x, i) => `x ${text(x)}   y ${fixed([targets[i]!])}   ridge says ${fixed([reference[i]!])}`,
    );
    return lines.join("\n");
  },
  document: (_, params, drawn, row) => pairsOf(params, drawn, row),
  defaults: {
    model: { n_layers: 4, n_heads: 4, d_model: 64, attn_only: false, act_fn: "gelu" },
    training: { steps: 5000, learning_rate: 1e-3, batch: 64, clip: 1 },
  },
});
