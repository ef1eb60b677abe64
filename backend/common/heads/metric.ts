import { HeadscopeError, unknownName } from "../errors.ts";
import type { HeadMetric, HeadScores } from "./scores.ts";
import { type RankedHead, rankTable, toKvHeads } from "./table.ts";

/** A metric with its name. */
export interface NamedMetric extends HeadMetric {
  readonly name: string;
}

/** The name of the metric that stands for a document: the probe's own, or the only one; undefined where several could. */
export function mainMetricName({ probe, metrics }: Pick<HeadScores, "probe" | "metrics">): string | undefined {
  const names = Object.keys(metrics);
  if (Object.hasOwn(metrics, probe)) return probe;
  return names.length === 1 ? names[0] : undefined;
}

/**
 * The metric of that name; without a name the main one: the probe's own, or the only one.
 * @throws HeadscopeError `usage` listing the nearest names
 */
export function mainMetric(scores: HeadScores, name?: string): NamedMetric {
  const key = name ?? mainMetricName(scores) ?? scores.probe;
  const metric = Object.hasOwn(scores.metrics, key) ? scores.metrics[key] : undefined;
  if (metric === undefined) throw unknownName(`metric of the ${scores.probe} scores`, key, Object.keys(scores.metrics));
  return { ...metric, name: key };
}

/**
 * All heads by one metric, highest first (KV heads if that is the metric's axis).
 * @param metric default: the main one
 */
export function ranking(scores: HeadScores, metric?: string): RankedHead[] {
  return rankTable(mainMetric(scores, metric).values);
}

/** A metric over KV heads, [layers, kvHeads], whatever its own axis: of query heads the highest of each group. */
export function kvTable(scores: Pick<HeadScores, "model">, metric: Pick<HeadMetric, "axis" | "values">): number[][] {
  return metric.axis === "kvHeads" ? metric.values : toKvHeads(metric.values, scores.model);
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
