import type { MetricRange } from "../../common/figures/phase-diagram.ts";
import type { ShownStatus } from "../../common/words.ts";
import type { Store } from "../../store/store.ts";

/** A run of a point. */
export interface SweepRun {
  readonly run: string;
  readonly seed: number;
  readonly status: ShownStatus;
  readonly step: number;
  /** Why it failed. */
  readonly error?: string | undefined;
  /** The last value of the loss and of every evaluation. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** Result of a point: its runs, and over those that ended well the mean and the range of each metric. */
export interface SweepResult {
  readonly values: Readonly<Record<string, unknown>>;
  readonly runs: readonly SweepRun[];
  readonly metrics: Readonly<Record<string, MetricRange>>;
}

/** A point's result from the store. @param ids of its runs */
export function resultOf(store: Store, values: SweepResult["values"], ids: readonly string[]): SweepResult {
  const runs = ids.map((id): SweepRun => {
    const record = store.run(id);
    const last = [...store.lastMetrics(id)].flatMap(
      ([name, { value }]) => (name.includes("[") ? [] : [[name, value] as const]), // scores of single heads
    );
    const metrics = Object.fromEntries(last.sort(([a], [b]) => order(a).localeCompare(order(b))));
    const { seed, step, error } = record;
    return { run: id, seed, status: store.shownStatus(record), step, error, metrics };
  });
  const done = runs.filter(({ status }) => status === "done");
  const metrics = metricNames(done).map((name) => {
    const all = done.flatMap(({ metrics }) => metrics[name] ?? []);
    const mean = all.reduce((a, b) => a + b, 0) / all.length;
    return [name, { mean, min: Math.min(...all), max: Math.max(...all) }] as const;
  });
  return { values, runs, metrics: Object.fromEntries(metrics) };
}

/** Names of all that some runs have measured, the training loss first. */
export function metricNames(runs: readonly SweepRun[]): string[] {
  return [...new Set(runs.flatMap(({ metrics }) => Object.keys(metrics)))];
}

/** The training loss first. */
function order(metric: string): string {
  return metric === "loss" ? "" : metric;
}
