import { z } from "zod";
import type { Random } from "../backend/common/random.ts";
import { type Batch, type Evaluation, rowOf } from "../backend/training/task.ts";
import { fixed, task } from "./base.ts";
import { LogisticPosterior } from "./learners/logistic.ts";
import { promptBatch, promptPositions, regressionPrompts } from "./learners/prompts.ts";

/** Numbers of an x that `describe` shows. */
const SHOWN = 10;

const parameters = z.object({
  dimension: z.int().min(1).max(256).default(8).describe("numbers of an x"),
  examples: z.int().min(1).max(1024).default(33).describe("pairs x, y of a sequence; the last y is only predicted"),
  tau: z.number().positive().default(10).describe("standard deviation of each weight: large ones give labels with little noise"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** Prompts of labelled points, as the module of `tart` reads them. */
export interface LabelledPoints {
  readonly rows: number;
  /** Points of a row, the last one's label included. */
  readonly examples: number;
  /** [rows, examples, dimension] */
  readonly x: Float32Array | Float64Array;
  /** 0 or 1 [rows, examples] */
  readonly labels: ArrayLike<number>;
}

/** Prompts as models read them: x_1, y_1, x_2, … with y = -1 or 1 as (y, 0, …); at every x the class of its y is predicted. */
export function labelledBatch({ rows, examples, x, labels }: LabelledPoints): Batch {
  const y = Float32Array.from(labels, (label) => 2 * label - 1);
  const { inputs, values, weights } = promptBatch({ rows, examples, x, y });
  return { rows, inputs: inputs!, classes: Int32Array.from(values!, (value) => (value > 0 ? 1 : 0)), weights };
}

/** The points and labels of a batch. */
function pointsOf(params: Params, { rows, inputs, classes }: Batch): LabelledPoints {
  const { examples, x, y } = regressionPrompts(params, { rows, inputs: inputs!, values: Float32Array.from(classes!), weights: new Float32Array() }); // biome-ignore format: one line
  return { rows, examples, x, labels: y };
}

function batch({ dimension, examples, tau }: Params, random: Random, rows: number): Batch {
  const x = new Float32Array(rows * examples * dimension);
  const labels = new Uint8Array(rows * examples);
  const w = new Float32Array(dimension);
  for (let row = 0; row < rows; row++) {
    random.fillNormal(w);
    const points = x.subarray(row * examples * dimension, (row + 1) * examples * dimension);
    random.fillNormal(points);
    for (let i = 0; i < examples; i++) {
      const logit = w.reduce((sum, weight, j) => sum + tau * weight * points[i * dimension + j]!, 0);
      labels[row * examples + i] = random.uniform() < 1 / (1 + Math.exp(-logit)) ? 1 : 0;
    }
  }
  return labelledBatch({ rows, examples, x, labels });
}

function evaluation(title: string, counts: (i: number, params: Params) => boolean): Evaluation<Params, null> {
  return {
    title,
    chance: () => ({ accuracy: 1 / 2, loss: Math.LN2 }),
    sample(_, params, random, rows) {
      const drawn = batch(params, random, rows);
      const positions = promptPositions(params);
      drawn.weights.forEach((_, t) => {
        if (!counts((t % positions) / 2, params)) drawn.weights[t] = 0;
      });
      return drawn;
    },
  };
}

/** Probabilities that the labels are 1, from the pairs before them [rows, examples]. */
function probabilities({ dimension, tau }: Params, { rows, examples, x, labels }: LabelledPoints): Float64Array {
  const found = new Float64Array(rows * examples);
  for (let row = 0; row < rows; row++) {
    const posterior = new LogisticPosterior(dimension, tau);
    for (let pair = row * examples; pair < (row + 1) * examples; pair++) {
      const own = x.subarray(pair * dimension, (pair + 1) * dimension);
      found[pair] = posterior.probability(own);
      posterior.observe(own, labels[pair]!);
    }
  }
  return found;
}

/** Log-probabilities of both classes at each x; even ones at the y's [rows, positions, 2]. */
function predict(params: Params, drawn: Batch): Float64Array {
  const { examples } = params;
  const positions = promptPositions(params);
  const out = new Float64Array(drawn.rows * positions * 2).fill(-Math.LN2);
  probabilities(params, pointsOf(params, drawn)).forEach((p, pair) => {
    const position = Math.floor(pair / examples) * positions + 2 * (pair % examples);
    out[2 * position] = Math.log1p(-p);
    out[2 * position + 1] = Math.log(p);
  });
  return out;
}

/** One row as pairs: x [examples][d], labels [examples] and the reference's probability of 1 from the pairs before. */
function pairsOf(params: Params, drawn: Batch, row: number) {
  const { dimension: d, examples } = params;
  const points = pointsOf(params, rowOf(drawn, row));
  return {
    inputs: Array.from({ length: examples }, (_, i) => [...points.x.subarray(i * d, (i + 1) * d)]),
    targets: [...points.labels as Float32Array],
    reference: [...probabilities(params, points)],
  };
} // biome-ignore format: a part a line

/** Logistic regression in context: the sequences that TART's module is trained on. */
export const logisticRegression = task({
  name: "logistic-regression",
  title: "Logistic regression in context",
  description:
    "Pairs of a point x and its label y, 0 or 1, with P(y = 1) = σ(w · x), w drawn anew for every row: at each x a model tells its label " +
    "from the pairs before it. The reference is logistic regression with the true prior, its uncertainty by Laplace's " +
    "approximation, which is near Bayes' predictor.",
  source: "Bhatia et al. 2023, TART: A plug-and-play Transformer module for task-agnostic reasoning",
  parameters,
  shape: (params) => ({
    input: { kind: "vectors", width: params.dimension },
    output: { kind: "classes", count: 2 },
    positions: promptPositions(params),
    scored: "all",
  }),
  check() {},
  world: () => null,
  sample: (_, params, random, rows) => batch(params, random, rows),
  evaluations: {
    "in-context": evaluation("every x, with all pairs before it as context", () => true),
    last: evaluation("the last x, with the most context", (i, { examples }) => i === examples - 1),
  },
  reference: {
    title: "logistic regression with the true prior",
    predict: (_, params, drawn) => predict(params, drawn),
  },
  describe(_, params, drawn, row) {
    const { inputs, targets, reference } = pairsOf(params, drawn, row);
    const text = (x: number[]): string => (x.length > SHOWN ? `${fixed(x.slice(0, SHOWN))} …` : fixed(x));
    return inputs
      .map((x, i) => `x ${text(x)}   label ${targets[i]}   P(1) by logistic regression ${fixed([reference[i]!])}`)
      .join("\n");
  },
  document: (_, params, drawn, row) => pairsOf(params, drawn, row),
  defaults: {
    model: { n_layers: 3, n_heads: 4, d_model: 64, attn_only: false, act_fn: "gelu" },
    training: { steps: 3000, learning_rate: 1e-3, batch: 64, clip: 1 },
  },
});
