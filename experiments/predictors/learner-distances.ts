import { z } from "zod";
import { Random } from "../../backend/common/random.ts";
import type { Model } from "../../backend/models/model.ts";
import { type Batch, tasks } from "../../synthetic-tasks/index.ts";
import {
  impliedWeights,
  type LinearSetting,
  learners,
  type OnlineLearner,
  predictPrompts,
  type RegressionPrompts,
  regressionPrompts,
} from "../../synthetic-tasks/learners/index.ts";
import { mean } from "../curves.ts";
import { differences, outputsOf, promptOutputs } from "../predictions.ts";

const TASK = "linear-regression";

/** Streams of a seed that no batch of the training is drawn from: of prompts, and of fresh queries. */
const STREAM = { prompts: 0xe3000000, queries: 0xe3000001 };

/** Contexts on which implied weights are fitted, and queries of each for every dimension. */
const CONTEXTS = 32;
const QUERIES = 4;

/** A learner that a model may be close to. */
export interface Contender {
  readonly name: string;
  /** Its place on the way from a gradient step (0) by ridge (1) to least squares (2); absent of one that is not on it. */
  readonly rank?: number;
  start(): OnlineLearner;
}

const byPairs = z.array(z.number());

/** Schema of the distances of a model from one learner, in shares of what predicting 0 everywhere costs. */
const distanceValues = z.object({
  /** Mean squared difference of predictions over the variance of y, from the second x on. */
  spd: z.number(),
  /** Mean squared distance of implied weights over that of w from 0. */
  ilwd: z.number(),
});
/** The distances of a model from one learner. */
export type Distance = z.output<typeof distanceValues>;

/** Schema of one model beside the learners. */
export const learnerDistanceValues = z.object({
  /** By the contender's name. */
  distances: z.record(z.string(), distanceValues),
  /** Distance by SPD of predicting 0 from the posterior mean: chance. */
  zero: z.number(),
  /** Squared error over the variance of y by pairs seen, of the model and of the contenders. */
  errors: z.object({ model: byPairs, learners: z.record(z.string(), byPairs) }),
  /** Share of the model's predictions on fresh queries that is linear in x, mean over contexts. */
  linearity: z.number(),
});
/** One model beside the learners. */
export type LearnerDistances = z.output<typeof learnerDistanceValues>;

/**
 * The learners that models are held against.
 * @param penalties of ridge regression, ascending
 */
export function contenders(setting: LinearSetting, penalties: readonly number[]): Contender[] {
  const one = (name: string, title: string, rank?: number, params: Record<string, unknown> = {}): Contender => {
    const learner = learners.get(name);
    const parsed = learners.parse(name, params);
    return { name: title, ...(rank === undefined ? {} : { rank }), start: () => learner.start(setting, parsed) };
  };
  return [
    one("k-nearest", "3 nearest neighbours"),
    one("gradient-step", "one gradient step", 0),
    one("sgd", "one epoch of SGD", 0),
    ...penalties.toReversed().map((lambda) => one("ridge", ridgeName(lambda), 1, { lambda })),
    one("least-squares", LEAST_SQUARES, 2),
  ];
}

/** Name of least squares among the contenders. */
export const LEAST_SQUARES = "least squares";

/** Name of ridge regression with a penalty among the contenders. */
export function ridgeName(lambda: number): string {
  return `ridge, λ ${Number(lambda.toPrecision(3))}`;
}

/**
 * Holds a model of the task linear-regression against learners, on fresh prompts.
 * @param params the task's, complete @param rows prompts
 */
export async function learnerDistances(
  model: Model,
  { params, seed, all, rows }: { params: Readonly<Record<string, unknown>>; seed: number; all: readonly Contender[]; rows: number },
): Promise<LearnerDistances> {
  const own = params as unknown as LinearSetting & { examples: number };
  const { dimension, sigma, tau } = own;
  const batch = tasks.get(TASK).sample(null, params, new Random(seed, STREAM.prompts), rows);
  const prompts = regressionPrompts(own, batch);
  const predicted = await promptOutputs(model, prompts);
  const variance = dimension * tau ** 2 + sigma ** 2;
  const learned = new Map(all.map(({ name, start }) => [name, predictPrompts(start, prompts)]));
  const { zero, posterior } = chanceOf(own, prompts);
  const { weights, linearity } = await weightDistances(model, { batch, prompts, all, setting: own, seed });
  const errorsOf = (values: ArrayLike<number>) => differences(prompts, values, prompts.y).map((error) => error / variance);
  return {
    distances: Object.fromEntries(
      all.map(({ name }) => {
        const spd = mean(differences(prompts, predicted, learned.get(name)!).slice(1)) / variance;
        return [name, { spd, ilwd: weights.get(name)! }];
      }),
    ),
    zero: mean(differences(prompts, zero, posterior).slice(1)) / variance,
    errors: {
      model: errorsOf(predicted),
      learners: Object.fromEntries([...learned].map(([name, values]) => [name, errorsOf(values)])),
    },
    linearity,
  };
} // biome-ignore format: one line

function chanceOf(setting: LinearSetting, prompts: RegressionPrompts) {
  const posterior = predictPrompts(() => learners.get("bayes").start(setting, {}), prompts);
  return { posterior, zero: new Float64Array(posterior.length) };
}

interface WeightQuestion {
  readonly batch: Batch;
  readonly prompts: RegressionPrompts;
  readonly all: readonly Contender[];
  readonly setting: LinearSetting;
  readonly seed: number;
}

/** Distances of a model's implied weights from learners', by name, over contexts of several lengths. */
async function weightDistances(
  model: Model,
  question: WeightQuestion,
): Promise<{ weights: Map<string, number>; linearity: number }> {
  const { prompts, all, setting } = question;
  const { dimension: d, tau } = setting;
  const contexts = Math.min(CONTEXTS, prompts.rows);
  const count = QUERIES * d;
  const random = new Random(question.seed, STREAM.queries);
  const queries = Float32Array.from({ length: count * d }, () => random.normal()); // [count, d]
  const each = all.map(() => [] as number[]);
  const linear: number[] = [];
  for (const pairs of contextLengths(d, prompts.examples)) {
    const outputs = await queryOutputs(model, question.batch, { contexts, pairs, queries, count });
    for (let row = 0; row < contexts; row++) {
      const implied = impliedWeights(queries, outputs.subarray(row * count, (row + 1) * count));
      linear.push(implied.linearity);
      all.forEach((contender, c) => {
        const w = weightsOf(contender, prompts, { row, pairs, queries, count });
        const squared = w.reduce((sum, value, j) => sum + (value - implied.weights[j]!) ** 2, 0);
        each[c]!.push(squared / (d * tau ** 2));
      });
    }
  }
  return { weights: new Map(all.map(({ name }, c) => [name, mean(each[c]!)])), linearity: mean(linear) };
}

/** Pairs of the contexts on which implied weights are fitted: one, d, twice d and all of them, where there are so many. */
function contextLengths(d: number, examples: number): number[] {
  return [...new Set([1, d, 2 * d, examples - 1].map((pairs) => Math.min(pairs, examples - 1)))];
}

interface Queries {
  readonly contexts: number;
  readonly pairs: number;
  /** [count, d] */
  readonly queries: Float32Array;
  readonly count: number;
}

/** Outputs of a model on queries behind the first pairs of contexts [contexts, count]. */
async function queryOutputs(
  model: Model,
  { rows, inputs }: Batch,
  { contexts, pairs, queries, count }: Queries,
): Promise<Float64Array> {
  const d = queries.length / count;
  const length = 2 * pairs + 1;
  const before = 2 * pairs * d;
  const all = new Float32Array(contexts * count * length * d);
  for (let row = 0; row < contexts; row++) {
    const start = (row * inputs!.length) / rows;
    for (let q = 0; q < count; q++) {
      const at = (row * count + q) * length * d;
      all.set(inputs!.subarray(start, start + before), at);
      all.set(queries.subarray(q * d, (q + 1) * d), at + before);
    }
  }
  const asked = { rows: contexts * count, inputs: all, weights: new Float32Array(0) };
  const outputs = await outputsOf(model, asked);
  return Float64Array.from({ length: contexts * count }, (_, r) => outputs[r * length + length - 1]!);
}

/** A learner's weights behind the first pairs of a row: its own, or those that its predictions imply. */
function weightsOf(
  { start }: Contender,
  { x, y, examples }: RegressionPrompts,
  { row, pairs, queries, count }: { row: number; pairs: number; queries: Float32Array; count: number },
): Float64Array {
  const d = queries.length / count;
  const learner = start();
  for (let i = 0; i < pairs; i++) {
    const at = row * examples + i;
    learner.observe(x.subarray(at * d, (at + 1) * d), y[at]!);
  }
  if (learner.weights !== undefined) return learner.weights;
  const predictions = Array.from({ length: count }, (_, q) => learner.predict(queries.subarray(q * d, (q + 1) * d)));
  return impliedWeights(queries, predictions).weights;
}
