import type { RunDetail, RunSummary } from "../../../../backend/common/api/runs.ts";
import { parameterText } from "../../../../backend/common/command-line.ts";
import { halfOfRise } from "../../../../backend/common/rise.ts";
import { groupBy } from "../../components/head-grid/grid.ts";
import { figure } from "../../format.ts";
import { curveOf, type MetricCurves, valueAt } from "../curves/curves.ts";
import { type RunMetric, rises } from "../curves/metrics.ts";

/** A line of a plot and a column of a table: a run, or the runs of a group taken together. */
export interface Series {
  readonly id: string;
  readonly title: string;
  readonly runs: readonly string[];
  /** Place in the order of colours. */
  readonly colour: number;
}

/** One series a run, or with `together` one for the chosen runs of each group of seeds. */
export function seriesOf(runs: readonly RunSummary[], together: boolean): Series[] {
  if (!together) return runs.map(({ id }, colour) => ({ id, title: id, runs: [id], colour }));
  return [...groupBy(runs, ({ group }) => group).values()].map((members, colour) => {
    const [first] = members as [RunSummary, ...RunSummary[]];
    const seeds = members.map(({ seed }) => seed).join(", ");
    const title = members.length === 1 ? first.id : `${first.group}, seeds ${seeds}`;
    return { id: first.id, title, runs: members.map(({ id }) => id), colour };
  });
}

/** A parameter's values in several runs, as text; undefined where a run has none. */
export interface ParameterRow {
  readonly name: string;
  readonly part: "task" | "model" | "training" | "run";
  readonly values: readonly (string | undefined)[];
  readonly differs: boolean;
}

/** All parameters of several runs, those of the task first. */
export function parameterRows(runs: readonly Pick<RunDetail, "spec" | "seed">[]): ParameterRow[] {
  const flat = runs.map(flatten);
  const names = [...new Set(flat.flatMap((each) => [...each.keys()]))];
  const order = ["run", "task", "model", "training"];
  return names
    .map((key) => {
      const [part, name] = key.split("/", 2) as [ParameterRow["part"], string];
      const values = flat.map((each) => each.get(key));
      return { name, part, values, differs: new Set(values).size > 1 };
    })
    .sort((a, b) => order.indexOf(a.part) - order.indexOf(b.part));
}

function flatten({ spec, seed }: Pick<RunDetail, "spec" | "seed">): Map<string, string> {
  const part = (name: string, values: object) =>
    Object.entries(values).map(([key, value]) => [`${name}/${key}`, parameterText(value)] as const);
  return new Map([
    ["run/task", spec.task],
    ["run/seed", String(seed)],
    ["run/probes", parameterText(spec.probes) || "none"],
    ...part("task", spec.params),
    ...part("model", spec.model),
    ...part("training", spec.training),
  ]);
}

/** Values of a metric, a cell for each series. */
export interface ValueRow {
  readonly title: string;
  /** Mean and range over the series' runs; undefined where it was not measured. */
  readonly cells: readonly ({ readonly mean: number; readonly low: number; readonly high: number } | undefined)[];
  readonly texts: readonly (string | undefined)[];
}

/** The value measured last, or nearest to a step. */
export function valueRows(
  metrics: readonly RunMetric[],
  series: readonly Series[],
  curves: (run: string) => MetricCurves | undefined,
  step?: number,
): ValueRow[] {
  return metrics.map((metric) => {
    const cells = series.map(({ runs }) => {
      const values = runs.flatMap((run) => {
        const own = curves(run);
        const curve = own && curveOf(own, metric);
        return curve === undefined ? [] : (valueAt(curve, step) ?? []);
      });
      if (values.length === 0) return undefined;
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      return { mean, low: Math.min(...values), high: Math.max(...values) };
    });
    const texts = cells.map((cell, at) => {
      if (cell === undefined) return undefined;
      const { mean, low, high } = cell;
      return series[at]!.runs.length === 1 ? figure(mean) : `${figure(mean)} (${figure(low)} – ${figure(high)})`;
    });
    return { title: metric.title, cells, texts };
  });
}

/** When a metric formed, a cell for each series: the step at which half of its rise was made. */
export interface RiseRow {
  readonly title: string;
  /** Mean and range over the series' runs; undefined where it did not rise. */
  readonly cells: readonly ({ readonly step: number; readonly text: string } | undefined)[];
}

/** When the accuracies and the best heads' scores made half of their rise; metrics that rose in no series are left out. */
export function riseRows(
  metrics: readonly RunMetric[],
  series: readonly Series[],
  curves: (run: string) => MetricCurves | undefined,
): RiseRow[] {
  return metrics.filter(rises).flatMap((metric) => {
    const cells = series.map(({ runs }) => {
      const steps = runs.flatMap((run) => {
        const own = curves(run);
        const curve = own && curveOf(own, metric);
        return (curve && halfOfRise(curve)) ?? [];
      });
      if (steps.length === 0) return undefined;
      const step = Math.round(steps.reduce((a, b) => a + b, 0) / steps.length);
      const [low, high] = [Math.min(...steps), Math.max(...steps)].map((each) => each.toLocaleString("en"));
      const text = step.toLocaleString("en");
      return { step, text: low === high ? text : `${text} (${low} – ${high})` };
    });
    return cells.some((cell) => cell !== undefined) ? [{ title: metric.title, cells }] : [];
  });
}
