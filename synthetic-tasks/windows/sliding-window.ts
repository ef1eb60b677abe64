import { z } from "zod";
import type { Random } from "../../backend/common/random.ts";
import type { Batch, Evaluation } from "../../backend/training/task.ts";
import { fixed, impossible, task } from "../base.ts";
import { promptPositions } from "../learners/prompts.ts";
import { labelPower, predictWindows, windowOf } from "./window-prompts.ts";

const parameters = z.object({
  dimension: z.int().min(1).max(64).default(2).describe("numbers of an x"),
  window: z.int().min(1).max(64).default(2).describe("inputs that a y depends on: its own x and those before it"),
  examples: z.int().min(2).max(1024).default(20).describe("pairs x, y of a sequence; the last y is only predicted"),
  sigma: z.number().positive().default(0.1).describe("standard deviation of the noise of y"),
  tau: z.number().positive().default(0.5).describe("standard deviation of each weight"),
  random_labels: z.number().min(0).max(1).default(0).describe("share of the labels that are read in training which are random; the loss asks for the true ones"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/**
 * Prompts x_1, y_1, x_2, … as rows of `dimension` numbers, y as (y, 0, …): y_i = Σ_j w_j · x_(i-j) + noise over the window, inputs
 * before the first being 0. A share of the y's that are read is drawn anew, with the variance of a y; targets are the true ones.
 * `layout` has 1 where a label is random [rows, examples - 1].
 * @param share of random labels
 */
export function windowPrompts(params: Params, random: Random, rows: number, share: number): Batch {
  const { dimension: d, window, examples, sigma, tau } = params;
  const positions = promptPositions(params);
  const inputs = new Float32Array(rows * positions * d); // [rows, positions, d]
  const values = new Float32Array(rows * positions); // [rows, positions, 1]
  const weights = new Float32Array(rows * positions);
  const layout = new Int32Array(rows * (examples - 1));
  const [w, x] = [new Float32Array(window * d), new Float32Array(examples * d)];
  const deviation = Math.sqrt(labelPower(params));
  for (let r = 0; r < rows; r++) {
    random.fillNormal(w);
    random.fillNormal(x);
    for (let i = 0; i < examples; i++) {
      const position = r * positions + 2 * i;
      inputs.set(x.subarray(i * d, (i + 1) * d), position * d);
      const y = windowOf(x, i, params).reduce((sum, value, j) => sum + tau * w[j]! * value, sigma * random.normal());
      values[position] = y;
      weights[position] = 1;
      // As many numbers are drawn whatever the share, so that prompts of one stream differ in their random labels alone.
      const [u, other] = [random.uniform(), deviation * random.normal()];
      if (i === examples - 1) continue;
      inputs[(position + 1) * d] = u < share ? other : y;
      layout[r * (examples - 1) + i] = u < share ? 1 : 0;
    }
  }
  return { rows, inputs, values, weights, layout };
}

/** Error of answering 0 everywhere: the mean variance of y over the x's that count. */
function guessing(params: Params, last: boolean): number {
  const { dimension, window, examples, sigma, tau } = params;
  const mean = Array.from({ length: examples }, (_, i) => Math.min(window, i + 1)).reduce((a, b) => a + b) / examples;
  return dimension * (last ? Math.min(window, examples) : mean) * tau ** 2 + sigma ** 2;
}

function evaluation(title: string, share: number, last: boolean): Evaluation<Params, null> {
  return {
    title,
    chance: (params) => ({ loss: guessing(params, last) }),
    sample(_, params, random, rows) {
      const drawn = windowPrompts(params, random, rows, share);
      const positions = promptPositions(params);
      if (last)
        drawn.weights.forEach((_, at) => {
          if (at % positions !== positions - 1) drawn.weights[at] = 0;
        });
      return drawn;
    },
  };
}

/** Functions of the last inputs, in context. */
export const slidingWindow = task({
  name: "sliding-window",
  title: "Functions of a sliding window of inputs",
  description:
    "Pairs x, y where y is a linear function of its own x and of those before it, within a window, with weights drawn anew for every row: at " +
    "each x a model predicts y from everything before. What one x alone tells is only its part of y. A share of the labels that are " +
    "read can be random. The reference is the best linear prediction, which is Bayes' where no label is random. Losses are mean squared errors.",
  source: "Campbell et al. 2023, Can Transformers Learn Sequential Function Classes In Context?",
  parameters,
  shape: (params) => ({
    input: { kind: "vectors", width: params.dimension },
    output: { kind: "values", width: 1 },
    positions: promptPositions(params),
    scored: "all",
  }),
  check({ window, examples }) {
    if (window > examples)
      throw impossible(
        "sliding-window",
        ["window", "examples"],
        `window ${window} is longer than a sequence of examples ${examples}: no window would be full`,
        "give more examples or a shorter window",
      );
  },
  world: () => null,
  sample: (_, params, random, rows) => windowPrompts(params, random, rows, params.random_labels),
  evaluations: {
    "in-context": evaluation("every x, with true labels", 0, false),
    last: evaluation("the last x, with true labels", 0, true),
    random: evaluation("the last x, with a random label in two on average", 0.5, true),
  },
  reference: {
    title: "the best linear prediction from the window",
    predict(_, params, batch) {
      const { examples } = params;
      const positions = promptPositions(params);
      const share = batch.layout!.reduce((sum, flag) => sum + flag, 0) / batch.layout!.length;
      const predictions = new Float64Array(batch.rows * positions);
      predictWindows(params, batch, { share }).forEach((value, pair) => {
        predictions[Math.floor(pair / examples) * positions + 2 * (pair % examples)] = value;
      });
      return predictions;
    },
  },
  describe(_, params, { inputs, values, layout }, row) {
    const { dimension: d, examples } = params;
    const positions = promptPositions(params);
    const lines = Array.from({ length: examples }, (_, i) => {
      const at = row * positions + 2 * i;
      const shown = i < examples - 1 && layout![row * (examples - 1) + i] === 1;
      const read = shown ? `   read as ${fixed([inputs![(at + 1) * d]!])} (random)` : "";
      return `x ${fixed(inputs!.subarray(at * d, (at + 1) * d))}   y ${fixed([values![at]!])}${read}`;
    });
    return lines.join("\n");
  },
  defaults: {
    model: { n_layers: 3, n_heads: 4, d_model: 64, attn_only: false, act_fn: "gelu" },
    training: { steps: 4000, learning_rate: 1e-3, batch: 64, clip: 1 },
  },
});
