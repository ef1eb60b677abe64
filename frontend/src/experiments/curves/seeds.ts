import type { RunSummary } from "../../../../backend/common/api/runs.ts";
import { counted } from "../../../../backend/common/text.ts";
import { groupBy } from "../../components/head-grid/grid.ts";
import { curveOf, type MetricCurves, nearestStep } from "../../training/curves/curves.ts";
import type { Line } from "../../training/curves/figure.ts";
import type { RunMetric } from "../../training/curves/metrics.ts";

/** Runs of a report that were trained together: one setting, several seeds. */
export interface SeedGroup {
  readonly id: string;
  readonly title: string;
  readonly runs: readonly RunSummary[];
}

/** The groups of the runs that a report draws on, in its order; those that were removed since are left out. */
export function seedGroups(report: readonly string[], all: readonly RunSummary[]): SeedGroup[] {
  const own = report.flatMap((id) => all.find((run) => run.id === id) ?? []);
  return [...groupBy(own, ({ group }) => group)].map(([id, runs]) => ({
    id,
    title: `${id}, ${counted(runs.length, "seed")}`,
    runs,
  }));
}

/** The metric that is drawn where nobody names one: an ability tells more than a loss. */
export function firstMetric(metrics: readonly RunMetric[]): RunMetric | undefined {
  return metrics.find(({ kind }) => kind === "accuracy") ?? metrics[0];
}

/** A metric's curve of each run as it was measured, a line a seed; runs that have none are left out. */
export function seedLines(
  runs: readonly RunSummary[],
  metric: RunMetric,
  curves: (run: string) => MetricCurves | undefined,
): (Line & { readonly run: string })[] {
  return runs.flatMap(({ id, seed }, colour) => {
    const own = curves(id);
    const curve = own && curveOf(own, metric);
    if (curve === undefined) return [];
    const notes = curve.heads === undefined ? {} : { notes: curve.heads };
    return [{ run: id, name: `seed ${seed}`, colour, dashed: colour % 14 >= 7, ...curve, ...notes }];
  });
}

/** The saved step of a run that is nearest to a step; undefined of none. */
export function savedStep(checkpoints: readonly number[], step: number): number | undefined {
  const at = nearestStep(checkpoints, step);
  return at === undefined ? undefined : checkpoints[at];
}
