import { z } from "zod";
import { atMostKeys } from "../definitions/bounded.ts";
import { HeadscopeError } from "../errors.ts";
import { checkTable, columnNoun, parseDocument } from "./document.ts";
import { headModelSchema, MOST_ENTRIES, MOST_KEYS } from "./model.ts";

/** Tag of score files. */
export const SCORES_FORMAT = "headscope.head-scores/1";
const REMEDY = "write it again with headscope probe";

const table = z.array(z.array(z.number()).max(MOST_ENTRIES)).max(MOST_ENTRIES);

const metricSchema = atMostKeys(
  z.looseObject({
    axis: z.enum(["heads", "kvHeads"]),
    /** [layers, heads] or [layers, kvHeads] */
    values: table,
    /** Least and greatest value that a head can have. */
    range: z.tuple([z.number(), z.number()]).optional(),
    /** The value of a head that attends evenly. */
    chance: z.number().optional(),
    /** One such table a trial: [trials, layers, heads or kvHeads]. */
    trials: z.array(table).max(MOST_ENTRIES).optional(),
  }),
  MOST_KEYS,
);

/**
 * The file `headscope.head-scores/1`: what a probe says about every head of a model.
 * A reader needs format, model, probe and metrics; headscope itself writes every field. Extra keys, such as `perCase`, pass.
 */
export const headScoresSchema = atMostKeys(
  z.looseObject({
    format: z.literal(SCORES_FORMAT),
    model: headModelSchema,
    /** Name of the probe; the metric of the same name is the main one. */
    probe: z.string().min(1).max(200),
    params: atMostKeys(z.record(z.string().max(200), z.unknown()), MOST_KEYS).default({}),
    /** "sha256:…" of the token rows; absent for scores that came from elsewhere. */
    tokens: z.string().max(200).optional(),
    seed: z.number().optional(),
    /** ISO 8601 time. */
    created: z.string().max(64).optional(),
    /** Version of headscope that wrote it. */
    headscope: z.string().max(64).optional(),
    metrics: atMostKeys(z.record(z.string().max(200), metricSchema), MOST_KEYS),
    summary: atMostKeys(z.record(z.string().max(200), z.number()), MOST_KEYS).default({}),
    /** What a reader should know, a sentence each. */
    notes: z.array(z.string().max(1000)).max(100).optional(),
  }),
  MOST_KEYS,
);

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
  const scores = parseDocument(headScoresSchema, value, { format: SCORES_FORMAT, label, remedy: REMEDY });
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

/** How far a value may be from its trials' mean, of the larger of 1 and itself: files round. */
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
