import type { z } from "zod";
import { evenBatches } from "../backend/circuits/batches.ts";
import type { Definition } from "../backend/common/definitions/definition.ts";
import { HeadscopeError } from "../backend/common/errors.ts";
import type { HeadMetric } from "../backend/common/heads/scores.ts";
import { allFinite, notFinite } from "../backend/hooks/finite.ts";
import { localWindow } from "../backend/models/config.ts";
import { forward } from "../backend/models/forward/forward.ts";
import type { Model } from "../backend/models/model.ts";
import { checkRows } from "../backend/models/tokens.ts";
import type { PatternSum } from "../backend/models/transformer/attention.ts";
import { pause } from "../backend/runtime/turn.ts";

/** One needle-in-a-haystack case. */
export interface RetrievalCase {
  /** The prompt. */
  ids: number[];
  /** Span of the needle in it: [start, end). */
  needleSpan: readonly [number, number];
  /** Most tokens to generate, default 10. */
  maxNewTokens?: number | undefined;
  /** Token that ends the answer; default the model's own stops. */
  stopToken?: number | undefined;
  /** Text that a right answer holds, of which minRecall is taken; default the needle. */
  answer?: string | undefined;
}

/** Inputs of a probe beside its parameters. */
export interface ProbeContext {
  /** Rows of token ids to score instead of the probe's own. */
  tokens?: number[][] | undefined;
  /** Cases, as the probe's own reader gives them. */
  cases?: readonly object[] | undefined;
  /** Of random tokens; default 0. */
  seed?: number | undefined;
  progress?: ((done: number, total: number, label: string) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** The findings of a probe. */
export interface ProbeResult {
  /** Parameters as they were used, where the model's context made them smaller. */
  params?: Record<string, unknown>;
  /** Rows that were scored. */
  tokens: number[][];
  metrics: Record<string, HeadMetric>;
  summary: Record<string, number>;
  perCase?: unknown;
  /** Findings that are no scores of heads: further fields of the document, by name. */
  findings?: Record<string, unknown>;
  /** Notes for a reader of the scores, a sentence each. */
  notes?: string[];
}

/** The meaning of the values of one of a probe's metrics. */
export interface MetricMeaning<P = Record<string, unknown>> {
  /** A sentence about the value, such as "share of attention that …". */
  readonly meaning: string;
  /** Least and greatest value that a head can have, where there are such. */
  readonly range?: readonly [number, number];
  /**
   * The value of a head that attends evenly to all it sees, or whose most attended key is any of them.
   * @param params as the probe used them
   * @returns undefined where they do not tell
   */
  chance?(params: P): number | undefined;
}

/** A probe: scores every head of a model. */
export interface Probe<S extends z.ZodObject = z.ZodObject> extends Definition<S> {
  /** Of each metric that it gives, by name. */
  readonly meanings?: Readonly<Record<string, MetricMeaning<z.output<S>>>> | undefined;
  /**
   * Reads a case of a cases file; absent in probes that take none.
   * @param label names the case; errors start with it
   * @throws HeadscopeError (input)
   */
  readCase?(value: unknown, label: string, model: Model): object;
  run(model: Model, params: z.output<S>, context: ProbeContext): Promise<ProbeResult>;
  /** Present in probes that are sums over patterns: those on the same rows share one pass. */
  readonly sums?: PatternSums<S>;
}

/** A probe made of linear functions of the attention patterns of one forward pass. */
export interface PatternSums<S extends z.ZodObject> {
  /** True where the rows may differ in length: `scores` then knows the rows. */
  readonly anyLengths?: boolean | undefined;
  /** The rows to run [rows][positions], all of one length unless `anyLengths`. @param context has `tokens` where the user gave rows */
  rows(model: Model, params: z.output<S>, context: ProbeContext): number[][];
  /** The sums to take: weights over [query, key], by the name of what they give. Names of the sums hold their parameters. */
  sums(params: z.output<S>, model: Model): Record<string, PatternSum>;
  /** Metrics and summary from the sums, each [rows][layers][heads]. @param rows that they are of */
  scores(
    sums: Record<string, number[][][]>,
    params: z.output<S>,
    rows: readonly (readonly number[])[],
  ): Pick<ProbeResult, "metrics" | "summary">;
  /** Most tokens that the sums look back; where layers of local attention can't, the scores come with a note. */
  readonly reach?: ((params: z.output<S>) => number) | undefined;
  /** Parameters as they are used on this model. Default: as given. */
  adapt?(model: Pick<Model, "config">, params: z.output<S>, context: ProbeContext): z.output<S>;
}

/** Rows of which a table each is kept in a score file. */
const MOST_TRIALS = 32;

/** A probe that is sums over patterns, as one writes it. */
export interface PatternProbe<S extends z.ZodObject>
  extends Omit<Probe<S>, "run" | "sums">,
    Omit<PatternSums<S>, "scores"> {
  /** Default: the mean over the rows of the only sum is the metric, named like the probe. */
  readonly scores?: PatternSums<S>["scores"];
  /** Of that only metric, instead of `meanings`. */
  readonly meaning?: MetricMeaning<z.output<S>>;
}

/** Completes a probe that is sums over patterns: rows in batches, patterns reduced inside their blocks. */
export function patternProbe<S extends z.ZodObject>(definition: PatternProbe<S>): Probe<S> {
  const { rows, sums, scores, adapt, reach, anyLengths, meaning, ...rest } = definition;
  const { name, meanings = meaning && { [name]: meaning } } = rest;
  const parts: PatternSums<S> = {
    rows,
    sums,
    reach,
    anyLengths,
    scores: scores ?? ((tables) => oneMetric(name, Object.values(tables)[0]!)),
    adapt(model, params, context) {
      refuse(context, name, "cases");
      return adapt?.(model, params, context) ?? params;
    },
  };
  return {
    ...rest,
    meanings,
    sums: parts,
    run: async (model, params, context) => (await runTogether(model, [{ sums: parts, params }], context))[0]!,
  };
}

/** The metric of a probe that has one. @param tables [rows][layers][heads] */
function oneMetric(name: string, tables: number[][][]): Pick<ProbeResult, "metrics" | "summary"> {
  const metric = meanMetric(tables);
  return { metrics: { [name]: metric }, summary: summarise(metric.values) };
}

/**
 * Runs probes that are sums over patterns; those on the same rows in one pass.
 * @returns results in the order of the probes
 */
export async function runTogether(
  model: Model,
  probes: readonly { sums: PatternSums<z.ZodObject>; params: Record<string, unknown> }[],
  context: ProbeContext,
): Promise<ProbeResult[]> {
  const prepared = probes.map(({ sums, params: own }) => {
    const params = sums.adapt?.(model, own, context) ?? own;
    const rows = sums.rows(model, params, context);
    checkRows(rows, "", { config: model.config, equalRows: sums.anyLengths ? undefined : "a probe" });
    return { parts: sums, params, rows, key: JSON.stringify(rows), wanted: sums.sums(params, model) };
  });
  const passes = new Map<string, Map<string, number[][][]>>();
  for (const key of new Set(prepared.map((p) => p.key))) {
    const together = prepared.filter((p) => p.key === key);
    passes.set(
      key,
      await sumPatterns(
        model,
        together[0]!.rows,
        together.flatMap((p) => Object.values(p.wanted)),
        context,
      ),
    );
  }
  return prepared.map(({ parts, params, rows, key, wanted }) => {
    const pass = passes.get(key)!;
    const tables = Object.fromEntries(Object.entries(wanted).map(([what, sum]) => [what, pass.get(sum.name)!]));
    return { params, tokens: rows, ...parts.scores(tables, params, rows), ...reachNote(model, parts.reach?.(params)) };
  });
}

/** Says which layers can't look as far back as a score does. @param reach in tokens */
function reachNote({ config }: Model, reach: number | undefined): { notes?: string[] } {
  const local = Array.from({ length: config.n_layers }, (_, layer) => layer).filter(
    (layer) => reach !== undefined && reach >= (localWindow(config, layer) ?? Number.POSITIVE_INFINITY),
  );
  if (local.length === 0) return {};
  const which = local.length === config.n_layers ? "all layers" : `layers ${local.join(", ")}`;
  const window = localWindow(config, local[0]!)! - 1;
  return {
    notes: [
      `${which} attend at most ${window} tokens back, and the score looks ${reach} back: it is 0 there whatever the heads do; choose a shorter length`,
    ],
  };
}

/** Sums over the patterns of every row: by the sum's name [rows][layers][heads]. */
async function sumPatterns(
  model: Model,
  rows: number[][],
  sums: readonly PatternSum[],
  context: ProbeContext,
): Promise<Map<string, number[][][]>> {
  const unique = [...new Map(sums.map((sum) => [sum.name, sum])).values()];
  const all = new Map(unique.map(({ name }) => [name, new Array<number[][]>(rows.length)]));
  const { n_layers } = model.config;
  let done = 0;
  for (const batch of batchesOf(rows)) {
    const tokens = batch.map((row) => rows[row]!);
    const onLayer = (layer: number): void => {
      context.signal?.throwIfAborted();
      context.progress?.(done * n_layers + layer * tokens.length, rows.length * n_layers, "patterns, rows x layers");
    };
    const result = forward(model, { tokens, logitsAt: "none" }, { reductions: unique, onLayer });
    for (const [name, layers] of result.reductions) {
      const tables = layers.map((t) => t.arraySync() as number[][]); // [layers][rows][heads]
      if (!tables.flat().every(allFinite)) {
        result.dispose();
        throw notFinite(model, "attention patterns", tokens);
      }
      batch.forEach((row, r) => {
        all.get(name)![row] = tables.map((table) => table[r]!);
      });
    }
    result.dispose();
    done += batch.length;
    await pause();
  }
  context.progress?.(rows.length * n_layers, rows.length * n_layers, "patterns, rows x layers");
  return all;
}

/** Numbers of the rows that run together: those of one length, in batches. */
function batchesOf(rows: readonly (readonly number[])[]): number[][] {
  const byLength = new Map<number, number[]>();
  rows.forEach((row, r) => {
    byLength.set(row.length, [...(byLength.get(row.length) ?? []), r]);
  });
  return [...byLength].flatMap(([length, own]) =>
    evenBatches(own.length, length).map(({ first, count }) => own.slice(first, first + count)),
  );
}

/** A metric over query heads: the mean over the rows, and each row's table where there are not many. @param tables [rows][layers][heads] */
export function meanMetric(tables: number[][][]): HeadMetric {
  return { axis: "heads", values: meanTable(tables), ...(tables.length <= MOST_TRIALS ? { trials: tables } : {}) };
}

/** Mean of tables of one shape. */
export function meanTable(tables: number[][][]): number[][] {
  return tables[0]!.map((row, l) =>
    row.map((_, h) => tables.reduce((sum, table) => sum + table[l]![h]!, 0) / tables.length),
  );
}

/** The summary that every head score has: its largest value and its mean. */
export function summarise(table: number[][]): Record<string, number> {
  const all = table.flat();
  return { max: Math.max(...all), mean: all.reduce((a, b) => a + b, 0) / all.length };
}

/**
 * The attention that a head which attends evenly to every key it sees gives to one of them: the mean over the queries of 1 / keys.
 * @param first query position, 0-based @param last query position, inclusive
 */
export function evenAttention(first: number, last: number): number {
  const queries = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  return queries.reduce((sum, query) => sum + 1 / (query + 1), 0) / queries.length;
}

/**
 * A length that the context allows: a default shrinks, what the user asked for is refused.
 * @throws HeadscopeError (usage)
 */
export function fitLength(name: string, value: number, byDefault: number, most: number): number {
  if (value <= most) return value;
  if (value === byDefault && most >= 1) return most;
  throw new HeadscopeError("usage", `${name} ${value} does not fit the model's context`, {
    remedy: `give at most ${most}`,
  });
}

/** @throws HeadscopeError (usage) where a context has what a probe does not take */
export function refuse(context: ProbeContext, probe: string, what: "tokens" | "cases"): void {
  if (context[what] === undefined) return;
  throw new HeadscopeError("usage", `probe ${probe} takes no ${what} file`, {
    remedy:
      what === "cases" ? "leave it out: cases are for probes such as retrieval" : "give it a cases file, or neither",
  });
}
