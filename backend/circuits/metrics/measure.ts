import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { METRICS, type MetricName } from "../../common/metrics.ts";
import { ANYTHING, checkOptions, oneOf, type Rule, type Rules } from "../../common/options.ts";
import type { LogitGradient } from "../../models/backward/logit-gradient.ts";
import { tf } from "../../runtime/tf.ts";
import { type AnswerSet, type Answers, tokensIn } from "../answers.ts";
import { logitDifference } from "../loss.ts";
import { METRIC_DEFINITIONS, type MetricDefinition, type Target } from "./metrics.ts";

/** A metric, and what it is measured against. */
export interface MetricOptions {
  name: MetricName;
  /** By row, or one entry for all rows. Metrics of answers need it. */
  answers?: readonly AnswerSet[];
  /** The wrong ones, alike. Differences need it. */
  wrong?: readonly AnswerSet[];
  /** Logits of the clean run [rows, outputs] or [rows, 1, outputs], or of one row for all. kl needs it. */
  clean?: Tensor;
}

const ANSWERS: Rule = {
  wants: "a list with the token id, or the ids, of each row",
  fits: (sets) => Array.isArray(sets) && sets.length > 0 && sets.every(isAnswerSet),
};
const OPTIONS: Rules<MetricOptions> = { name: oneOf(METRICS), answers: ANSWERS, wrong: ANSWERS, clean: ANYTHING };

function isAnswerSet(set: unknown): boolean {
  const ids: unknown[] = Array.isArray(set) ? set : [set];
  return ids.length > 0 && new Set(ids).size === ids.length && ids.every((id) => Number.isSafeInteger(id));
}

/**
 * The metric of pairs.
 * @param pairs one a row, or one for all rows @param clean logits of the clean run, for kl
 */
export function pairMetric(name: MetricName, pairs: readonly Answers[], clean?: Tensor): MetricOptions {
  return {
    name,
    answers: pairs.map(({ answer }) => answer),
    wrong: pairs.map(({ wrong }) => wrong),
    ...(clean ? { clean } : {}),
  };
}

/**
 * The metric of runs of one pair.
 * @param clean logits of its clean run, for kl
 * @returns a function that gives one value a row of logits [rows, 1, outputs]
 */
export function pairMeasure(name: MetricName, pair: Answers, clean: Tensor): (logits: Tensor) => number[] {
  // The usual metric reads two logits; the others need all of them.
  return (logits) =>
    name === "logit-diff" ? logitDifference(logits, pair) : metricValues(logits, pairMetric(name, [pair], clean));
}

/**
 * A metric of every row.
 * @param logits [rows, outputs] or [rows, 1, outputs]
 * @returns one value a row
 * @throws HeadscopeError (usage) for an unknown metric, answers that are missing or not among the outputs, and other numbers of rows
 */
export function metricValues(logits: Tensor, metric: MetricOptions): number[] {
  const definition = definitionOf(metric);
  return rowsOf(logits, metric).map(({ row, target }) => definition.value(row, target));
}

/**
 * A metric of every row, and the gradient of each row's value with respect to its logits.
 * @param logits [rows, outputs] or [rows, 1, outputs]
 * @returns the gradient in the shape of the logits; the caller disposes it
 * @throws HeadscopeError (usage) as `metricValues` does
 */
export function metricGradient(logits: Tensor, metric: MetricOptions): { values: number[]; gradient: Tensor } {
  const definition = definitionOf(metric);
  const rows = rowsOf(logits, metric);
  const gradient = new Float32Array(logits.size);
  rows.forEach(({ row, target }, r) => {
    gradient.set(definition.gradient(row, target), r * row.length);
  });
  return {
    values: rows.map(({ row, target }) => definition.value(row, target)),
    gradient: tf.tensor(gradient, logits.shape),
  };
}

/**
 * As `metricGradient`, in the shorter form where the metric has one: what a backward pass starts from.
 * @returns the gradient; the caller disposes it where it is a tensor
 */
export function logitGradient(logits: Tensor, metric: MetricOptions): { values: number[]; gradient: LogitGradient } {
  const definition = definitionOf(metric);
  const { coefficients } = definition;
  if (!coefficients) return metricGradient(logits, metric);
  const rows = rowsOf(logits, metric);
  return {
    values: rows.map(({ row, target }) => definition.value(row, target)),
    gradient: rows.map(({ target }) => coefficients(target)),
  };
}

function definitionOf(metric: MetricOptions): MetricDefinition {
  checkOptions("a metric", metric, OPTIONS, ["name"]);
  const definition = METRIC_DEFINITIONS[metric.name];
  const missing = definition.needs.find((field) => metric[field] === undefined);
  if (missing)
    throw new HeadscopeError("usage", `the metric ${metric.name} needs \`${missing}\``, {
      remedy: missing === "clean" ? "give the clean run's logits" : `give ${ANSWERS.wants}`,
      field: missing,
    });
  return definition;
}

/** The logits of every row, and what they are measured against. */
function rowsOf(logits: Tensor, { answers, wrong, clean }: MetricOptions): { row: Float32Array; target: Target }[] {
  const count = rowCount(logits, "the logits");
  const width = logits.shape.at(-1)!;
  const own = logits.dataSync() as Float32Array;
  if (clean && clean.shape.at(-1) !== width)
    throw new HeadscopeError("usage", `the clean logits have ${clean.shape.at(-1)} outputs and the run's ${width}`, {
      remedy: "give logits of the same model",
    });
  const reference = clean?.dataSync() as Float32Array | undefined;
  const cleanRows = clean ? rowCount(clean, "the clean logits") : 0;
  const entry = (rows: number, r: number, what: string): number => {
    if (rows === 1 || rows === count) return rows === 1 ? 0 : r;
    throw new HeadscopeError("usage", `${what} are for ${rows} rows, and the logits have ${count}`, {
      remedy: "give an entry for every row, or one for all",
    });
  };
  const tokens = (sets: readonly AnswerSet[] | undefined, r: number, what: string): readonly number[] => {
    if (!sets) return [];
    const ids = tokensIn(sets[entry(sets.length, r, what)]!);
    const beyond = ids.find((id) => id < 0 || id >= width);
    if (beyond === undefined) return ids;
    throw new HeadscopeError("usage", `there is no output ${beyond}`, { remedy: `outputs are 0 to ${width - 1}` });
  };
  return Array.from({ length: count }, (_, r) => ({
    row: own.subarray(r * width, (r + 1) * width),
    target: {
      answers: tokens(answers, r, "the answers"),
      wrong: tokens(wrong, r, "the wrong answers"),
      clean: reference
        ? reference.subarray(...[0, 1].map((i) => (entry(cleanRows, r, "the clean logits") + i) * width))
        : new Float32Array(0),
    },
  }));
}

/** Rows of logits of one position each. @throws HeadscopeError (usage) for logits of several positions */
function rowCount({ shape }: Tensor, what: string): number {
  if (shape.length === 2 || (shape.length === 3 && shape[1] === 1)) return shape[0]!;
  throw new HeadscopeError("usage", `${what} are [${shape}], and a metric reads one position of each row`, {
    remedy: 'run with logitsAt "last", or one position',
  });
}
