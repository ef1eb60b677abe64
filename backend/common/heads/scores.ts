import { createHash } from "node:crypto";
import { z } from "zod";
import packageJson from "../../package.json" with { type: "json" };
import { atMostKeys } from "../common/definitions/bounded.ts";
import { HeadscopeError, unknownName } from "../common/errors.ts";
import { formatJson } from "../json.ts";
import { writeFileAtomic } from "../paths.ts";
import { checkTable, columnNoun, parseDocument, readDocument } from "./document.ts";
import { type HeadAxis, type HeadModel, headModelSchema, MOST_ENTRIES, MOST_KEYS } from "./model.ts";

const FORMAT = "headscope.head-scores/1";
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
    format: z.literal(FORMAT),
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

/** What a probe has to say; `createScores` adds the rest. */
export interface ScoresInput {
  readonly model: HeadModel;
  readonly probe: string;
  readonly params: Record<string, unknown>;
  /** Token rows that were scored, [rows][positions] of ids; only their digest is kept. */
  readonly tokens?: readonly (readonly number[])[];
  readonly seed?: number;
  readonly metrics: Record<string, HeadMetric>;
  readonly summary?: Record<string, number>;
  readonly perCase?: unknown;
  readonly notes?: string[];
}

/**
 * Makes a complete score document, with the time and headscope's version.
 * @throws HeadscopeError `input` for a table of another shape or a number that is not finite
 */
export function createScores({
  model,
  probe,
  params,
  tokens,
  seed,
  metrics,
  summary,
  perCase,
  notes,
}: ScoresInput): HeadScores {
  const document = {
    format: FORMAT,
    model,
    probe,
    params,
    ...(tokens === undefined ? {} : { tokens: tokensDigest(tokens) }),
    ...(seed === undefined ? {} : { seed }),
    created: new Date().toISOString(),
    headscope: packageJson.version,
    metrics,
    summary: summary ?? {},
    ...(perCase === undefined ? {} : { perCase }),
    ...(notes === undefined ? {} : { notes }),
  };
  return parseScores(document, `scores of ${probe}`);
}

/** "sha256:…" of token rows: the hash of their JSON without spaces. */
export function tokensDigest(rows: readonly (readonly number[])[]): string {
  return `sha256:${createHash("sha256").update(JSON.stringify(rows)).digest("hex")}`;
}

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

/**
 * Reads and checks a score file.
 * @throws HeadscopeError `missing` or `input`, starting with the path
 */
export function readScores(path: string): Promise<HeadScores> {
  return readDocument(path, "scores file", parseScores);
}

/** Checks and writes a score file, whole or not at all. */
export async function writeScores(path: string, scores: HeadScores): Promise<void> {
  await writeFileAtomic(path, `${formatJson(parseScores(scores, path))}\n`);
}

/** A metric with its name. */
export interface NamedMetric extends HeadMetric {
  readonly name: string;
}

/**
 * The metric of that name; without a name the main one: the probe's own, or the only one.
 * @throws HeadscopeError `usage` listing the nearest names
 */
export function mainMetric(scores: HeadScores, name?: string): NamedMetric {
  const names = Object.keys(scores.metrics);
  const wanted = name ?? (names.includes(scores.probe) || names.length !== 1 ? scores.probe : names[0]!);
  const metric = Object.hasOwn(scores.metrics, wanted) ? scores.metrics[wanted] : undefined;
  if (metric === undefined) throw unknownName(`metric of the ${scores.probe} scores`, wanted, names);
  return { ...metric, name: wanted };
}

/** A head with its score; rank 1 is the highest. */
export interface RankedHead {
  readonly layer: number;
  readonly head: number;
  readonly value: number;
  readonly rank: number;
}

/** All heads of a table, highest score first; equal scores in the order of layer, then head. */
export function rankTable(values: readonly (readonly number[])[]): RankedHead[] {
  return values
    .flatMap((row, layer) => row.map((value, head) => ({ layer, head, value })))
    .sort((a, b) => b.value - a.value || a.layer - b.layer || a.head - b.head)
    .map((entry, i) => ({ ...entry, rank: i + 1 }));
}

/**
 * All heads by one metric, highest first (KV heads if that is the metric's axis).
 * @param metric default: the main one
 */
export function ranking(scores: HeadScores, metric?: string): RankedHead[] {
  return rankTable(mainMetric(scores, metric).values);
}

/**
 * Scores of KV heads from those of query heads: the maximum over each group, since a KV head must serve all of it.
 * @param values [layers, heads]
 * @param heads query heads of a layer, a multiple of `kvHeads`
 * @returns [layers, kvHeads]
 */
export function toKvHeads(values: readonly (readonly number[])[], heads: number, kvHeads: number): number[][] {
  const group = heads / kvHeads;
  return values.map((row) =>
    Array.from({ length: kvHeads }, (_, kv) => Math.max(...row.slice(kv * group, (kv + 1) * group))),
  );
}

/** A metric over KV heads, [layers, kvHeads], whatever its own axis. */
export function kvTable(scores: HeadScores, metric: HeadMetric): number[][] {
  const { heads, kvHeads } = scores.model;
  return metric.axis === "kvHeads" ? metric.values : toKvHeads(metric.values, heads, kvHeads);
}

/**
 * Insists on a metric over query heads.
 * @param what what needs it; the error names it
 * @throws HeadscopeError `usage` when the metric scores KV heads
 */
export function queryMetric(scores: HeadScores, name: string | undefined, what: string): NamedMetric {
  const metric = mainMetric(scores, name);
  if (metric.axis === "heads") return metric;
  const others = Object.keys(scores.metrics).filter((other) => scores.metrics[other]!.axis === "heads");
  const remedy = others.length > 0 ? `choose ${others.join(" or ")}` : "use scores of a probe over query heads";
  throw new HeadscopeError("usage", `${what} needs scores of query heads, and metric ${metric.name} scores KV heads`, {
    remedy,
  });
}

export type { HeadAxis, HeadModel };
