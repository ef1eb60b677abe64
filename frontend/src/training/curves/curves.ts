import type { RunCurves } from "../../../../backend/common/api/runs.ts";
import type { RunMetric } from "./metrics.ts";

/** A measurement over training: values at ascending steps, null where one was not a number. */
export interface MetricCurve {
  readonly steps: readonly number[];
  readonly values: readonly (number | null)[];
}

/** A run's measurements by name. */
export type MetricCurves = ReadonlyMap<string, MetricCurve>;

/** A measurement at a step. */
export interface Measurement {
  readonly step: number;
  readonly values: Readonly<Record<string, number | null>>;
}

/** The API's curves by name. */
export function curvesOf(given: RunCurves): MetricCurves {
  return new Map(
    Object.entries(given).map(([name, points]) => [
      name,
      { steps: points.map(([step]) => step), values: points.map(([, value]) => value) },
    ]),
  );
}

/** Curves with more measurements, in any order; one of a step that is there replaces it. */
export function withMeasurements(curves: MetricCurves, added: readonly Measurement[]): MetricCurves {
  if (added.length === 0) return curves;
  const byName = new Map<string, [step: number, value: number | null][]>();
  for (const { step, values } of added)
    for (const [name, value] of Object.entries(values)) byName.set(name, [...(byName.get(name) ?? []), [step, value]]);
  const next = new Map(curves);
  for (const [name, points] of byName) {
    const { steps = [], values = [] } = curves.get(name) ?? {};
    const all = new Map([...steps.map((step, i) => [step, values[i] ?? null] as const), ...points]);
    const sorted = [...all].sort(([a], [b]) => a - b);
    next.set(name, { steps: sorted.map(([step]) => step), values: sorted.map(([, value]) => value) });
  }
  return next;
}

/** The best head's value at each step, and which head it is, LAYER.HEAD. */
export interface BestHead extends MetricCurve {
  readonly heads: readonly string[];
}

/** The largest value over a metric's heads at each step that any of them has. */
export function bestHead(curves: MetricCurves, { heads }: RunMetric): BestHead {
  const best = new Map<number, { value: number | null; head: string }>();
  for (const { name, layer, head } of heads) {
    const { steps = [], values = [] } = curves.get(name) ?? {};
    steps.forEach((step, i) => {
      const value = values[i] ?? null;
      const so = best.get(step);
      if (so === undefined || (value !== null && (so.value === null || value > so.value)))
        best.set(step, { value, head: `${layer}.${head}` });
    });
  }
  const sorted = [...best].sort(([a], [b]) => a - b);
  return {
    steps: sorted.map(([step]) => step),
    values: sorted.map(([, { value }]) => value),
    heads: sorted.map(([, { head }]) => head),
  };
}

/** A run's curve of a metric; of heads the best head's. Undefined where it was not measured. */
export function curveOf(
  curves: MetricCurves,
  metric: RunMetric,
): (MetricCurve & { readonly heads?: readonly string[] }) | undefined {
  if (metric.heads.length === 0) return curves.get(metric.key);
  const best = bestHead(curves, metric);
  return best.steps.length === 0 ? undefined : best;
}

/** Index of the step nearest to a step: the earlier one of two as near, of Infinity the last one; undefined of none. */
export function nearestStep(steps: readonly number[], step: number): number | undefined {
  if (step === Infinity) return steps.length > 0 ? steps.length - 1 : undefined;
  let best: number | undefined;
  steps.forEach((each, i) => {
    if (best === undefined || Math.abs(each - step) < Math.abs(steps[best]! - step)) best = i;
  });
  return best;
}

/** The last value, or the one measured nearest to a step. */
export function valueAt({ steps, values }: MetricCurve, step?: number): number | null | undefined {
  const at = step === undefined ? steps.length - 1 : nearestStep(steps, step);
  return at === undefined ? undefined : values[at];
}

/**
 * Exponential moving average, corrected for its start so that the first values are not pulled to 0.
 * @param weight of what came before, from 0 (no smoothing) to below 1
 */
export function smooth({ steps, values }: MetricCurve, weight: number): MetricCurve {
  if (weight === 0) return { steps, values };
  let sum = 0;
  let norm = 0;
  return {
    steps,
    values: values.map((value) => {
      if (value === null) return null;
      sum = weight * sum + (1 - weight) * value;
      norm = weight * norm + (1 - weight);
      return sum / norm;
    }),
  };
}

/** Mean of several curves and the range that they cover. */
export interface Band extends MetricCurve {
  readonly low: readonly (number | null)[];
  readonly high: readonly (number | null)[];
}

/** Mean and range at the steps where every curve was measured; null where any was not a number. */
export function bandOf(curves: readonly MetricCurve[]): Band {
  const [first, ...others] = curves.map(
    ({ steps, values }) => new Map(steps.map((step, i) => [step, values[i] ?? null])),
  );
  const steps = [...(first?.keys() ?? [])].filter((step) => others.every((each) => each.has(step)));
  const rows = steps.map((step) => [first!, ...others].map((each) => each.get(step) ?? null));
  const over = (reduce: (row: number[]) => number) =>
    rows.map((row) => (row.includes(null) ? null : reduce(row as number[])));
  return {
    steps,
    values: over((row) => row.reduce((a, b) => a + b, 0) / row.length),
    low: over((row) => Math.min(...row)),
    high: over((row) => Math.max(...row)),
  };
}
