import { parameterText } from "../../common/command-line.ts";
import { csvText } from "../../common/csv.ts";
import type { Figure } from "../../common/figures/figure.ts";
import { counted } from "../../common/text.ts";
import { metricNames, type SweepResult } from "../../jobs/sweeps/results.ts";
import { describeValues, type SweepPlan } from "../../jobs/sweeps/sweep.ts";
import { right, table } from "./format.ts";

/**
 * A sweep's results as CSV, a line a run: the varied parameters, seed, run, status, step, then the last value of the loss
 * and of each evaluation; empty where a run has none.
 */
export function sweepCsv({ varied }: SweepPlan, results: readonly SweepResult[]): string {
  const metrics = metricsOf(results);
  const rows = results.flatMap(({ values, runs }) =>
    runs.map(({ run, seed, status, step, metrics: own }) => [
      ...varied.map((name) => parameterText(values[name])),
      ...[seed, run, status, step],
      ...metrics.map((name) => own[name] ?? ""),
    ]),
  );
  return csvText([[...varied, "seed", "run", "status", "step", ...metrics], ...rows]);
}

/** A sweep's results for people, a line a point: metrics are means over the seeds, with the range where there are several. */
export function sweepText({ task, varied, seeds }: SweepPlan, results: readonly SweepResult[]): string {
  const metrics = metricsOf(results);
  const unfinished = results.some(({ runs }) => runs.some(({ status }) => status !== "done"));
  const columns = [...varied.map(right), ...(unfinished ? ["status"] : []), ...metrics.map(right)];
  const rows = results.map((result) => [
    ...varied.map((name) => parameterText(result.values[name])),
    ...(unfinished ? [statusText(result)] : []),
    ...metrics.map((name) => rangeText(result.metrics[name])),
  ]);
  const over = seeds.length === 1 ? `seed ${seeds[0]}` : `mean (range) over ${counted(seeds.length, "seed")}`;
  const failures = results.flatMap(({ values, runs }) =>
    runs.flatMap(({ run, error }) =>
      error === undefined ? [] : [`${[run, describeValues(values)].filter(Boolean).join(", ")}: ${error}`],
    ),
  );
  return [`${task}: ${counted(results.length, "point")}, ${over}`, table(columns, rows, "  "), ...failures].join("\n");
}

/** A phase diagram as a table of numbers, the second axis from the bottom; a line a value where there is one axis. */
export function diagramText(figure: Figure): string {
  if (figure.kind === "lines")
    return figure.lines
      .map(({ x, y }) =>
        table(
          [figure.x.title, figure.y.title].map(right),
          x.map((value, i) => [String(value), shown(y[i])]),
          "  ",
        ),
      )
      .join("\n");
  const { x, y, z, title } = figure;
  const rows = z.map((row, r) => [y.labels[r]!, ...row.map(shown)]);
  return [title, table([right(`${y.title} \\ ${x.title}`), ...x.labels.map(right)], rows, "  ")].join("\n");
}

function shown(value: number | null | undefined): string {
  return value == null ? "–" : digits(value);
}

function metricsOf(results: readonly SweepResult[]): string[] {
  return metricNames(results.flatMap(({ runs }) => runs));
}

/** "done", or how many runs are in which state. */
function statusText({ runs }: SweepResult): string {
  const states = [...new Set(runs.map(({ status }) => status))];
  if (states.length === 1) return states[0]!;
  return states.map((state) => `${runs.filter(({ status }) => status === state).length} ${state}`).join(", ");
}

function rangeText(metric: SweepResult["metrics"][string] | undefined): string {
  if (metric === undefined) return "";
  const { mean, min, max } = metric;
  return min === max ? digits(mean) : `${digits(mean)} (${digits(min)}–${digits(max)})`;
}

/** Three decimals, or as many digits for a small number. */
function digits(value: number): string {
  return value !== 0 && Math.abs(value) < 0.01 ? value.toPrecision(3) : value.toFixed(3);
}
