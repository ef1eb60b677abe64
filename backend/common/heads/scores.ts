import type { z } from "zod";
import { SCORES_FORMAT as FORMAT, headScoresSchema, type metricSchema } from "../api/documents.ts";
import { HeadscopeError } from "../errors.ts";
import { checkTable, columnNoun, parseDocument } from "./document.ts";

const REMEDY = "write it again with headscope probe";

/** A checked score file. */
export type HeadScores = z.output<typeof headScoresSchema>;
/** One table of scores: values [layers, heads] or [layers, kvHeads], by `axis`. */
export type HeadMetric = z.output<typeof metricSchema>;

/**
 * Checks a score document: its tag, its fields, and that every table has one row a layer and one column a head.
 * @param label where it comes from, usually a path; errors start with it
 * @throws HeadscopeError `input` naming the field
 */
export function parseScores(value: unknown, label: string): HeadScores {
  const scores = parseDocument(headScoresSchema, value, { format: FORMAT, label, remedy: REMEDY });
  const { layers, heads, kvHeads } = scores.model;
  if (heads % kvHeads !== 0)
    throw new HeadscopeError("input", `${label}: ${heads} heads cannot share ${kvHeads} KV heads`, { remedy: REMEDY });
  if (Object.keys(scores.metrics).length === 0)
    throw new HeadscopeError("input", `${label} holds no metric`, { remedy: REMEDY });
  for (const [name, metric] of Object.entries(scores.metrics)) {
    const columns = scores.model[metric.axis];
    const check = (rows: number[][], field: string) =>
      checkTable(rows, layers, columns, {
        label: `${label}: metrics.${name}.${field}`,
        columnsAre: columnNoun(metric.axis),
        remedy: REMEDY,
      });
    check(metric.values, "values");
    metric.trials?.forEach((trial, i) => {
      check(trial, `trials[${i}]`);
    });
  }
  return scores;
}

/** Most that a value may be from its trials' mean, as a share of the larger of 1 and itself: files round. */
const ROUNDING = 1e-3;

/**
 * Insists that values are the means of their trials, which a reader takes them to be.
 * @param label of the metric; errors start with it
 * @throws HeadscopeError `input` naming a head
 */
export function checkTrials({ values, trials }: HeadMetric, label: string): void {
  if (trials === undefined || trials.length === 0) return;
  values.forEach((row, layer) => {
    row.forEach((value, head) => {
      const mean = trials.reduce((sum, trial) => sum + (trial[layer]?.[head] ?? Number.NaN), 0) / trials.length;
      // Shapes and numbers that are none are told of by parseScores.
      if (!(Math.abs(mean - value) > ROUNDING * Math.max(1, Math.abs(value)))) return;
      throw new HeadscopeError(
        "input",
        `${label}: head ${layer}.${head} has value ${value}, and its ${trials.length} trials a mean of ${mean}`,
        { remedy: "keep the trials that the values are taken of" },
      );
    });
  });
}
