import type { Definitions } from "../../../../backend/common/api/definitions.ts";
import { emptyTable } from "../../components/head-grid/grid.ts";
import { type MetricScale, metricScale } from "../../components/head-metrics/scale.ts";
import { type MetricCurves, nearestStep } from "../curves/curves.ts";
import { measureParts, type RunMetric } from "../curves/metrics.ts";

/** The heads' values of a metric at a step. */
export interface StepTable {
  /** Step at which they were measured, the nearest to the one that was asked for. */
  readonly step: number;
  /** [layers][heads]; NaN where there is none. */
  readonly values: number[][];
}

/** The table of a metric's heads at the step measured nearest to `step`; undefined before anything was measured. */
export function headTable(curves: MetricCurves, { heads }: RunMetric, step: number): StepTable | undefined {
  const measured = heads.map(({ name }) => curves.get(name)).find((curve) => curve !== undefined)?.steps ?? [];
  const at = nearestStep(measured, step);
  if (at === undefined) return undefined;
  const found = measured[at]!;
  const layers = Math.max(...heads.map(({ layer }) => layer)) + 1;
  const width = Math.max(...heads.map(({ head }) => head)) + 1;
  const values = emptyTable(layers, width);
  for (const { name, layer, head } of heads) {
    const curve = curves.get(name);
    values[layer]![head] = curve?.values[curve.steps.indexOf(found)] ?? Number.NaN;
  }
  return { step: found, values };
}

/**
 * The scale of a metric's heads, by their values over all of training, so that a colour means the same at every step.
 * @param known `even`: what a head that attends evenly has, by PROBE.METRIC
 */
export function headScale(
  curves: MetricCurves,
  { key, heads }: RunMetric,
  {
    definitions,
    even = {},
  }: { readonly definitions: Definitions | undefined; readonly even?: Readonly<Record<string, number>> | undefined },
): MetricScale {
  const values = heads.map(({ name }) => (curves.get(name)?.values ?? []).map((value) => value ?? Number.NaN));
  return metricScale({ ...measureParts(key), chance: even[key] }, values, { own: false, definitions });
}

/** The head with the largest value of a table, LAYER.HEAD. */
export function bestOf({ values }: StepTable): string {
  let best = { head: "0.0", value: -Infinity };
  values.forEach((row, layer) => {
    row.forEach((value, head) => {
      if (value > best.value) best = { head: `${layer}.${head}`, value };
    });
  });
  return best.head;
}
