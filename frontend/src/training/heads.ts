import { type Curves, nearest } from "./curves.ts";
import type { Metric } from "./metrics.ts";

/** The heads' values of a metric at a step. */
export interface HeadTable {
  /** Step at which they were measured, the nearest to the one that was asked for. */
  readonly step: number;
  /** [layers][heads]; NaN where there is none. */
  readonly values: number[][];
  /** Smallest and largest value over all of training, so that a colour means the same at every step. */
  readonly range: readonly [number, number];
}

/** The table of a metric's heads at the step measured nearest to `step`; undefined before anything was measured. */
export function headTable(curves: Curves, { heads }: Metric, step: number): HeadTable | undefined {
  const measured = heads.map(({ name }) => curves.get(name)).find((curve) => curve !== undefined)?.steps ?? [];
  const at = nearest(measured, step);
  if (at === undefined) return undefined;
  const found = measured[at]!;
  const layers = Math.max(...heads.map(({ layer }) => layer)) + 1;
  const width = Math.max(...heads.map(({ head }) => head)) + 1;
  const values = Array.from({ length: layers }, () => Array.from({ length: width }, () => Number.NaN));
  for (const { name, layer, head } of heads) {
    const curve = curves.get(name);
    values[layer]![head] = curve?.values[curve.steps.indexOf(found)] ?? Number.NaN;
  }
  return { step: found, values, range: rangeOf(curves, heads) };
}

/** Shares have the range 0 to 1; anything else what it covers. */
function rangeOf(curves: Curves, heads: Metric["heads"]): [number, number] {
  let [low, high] = [0, 1];
  for (const { name } of heads)
    for (const value of curves.get(name)?.values ?? [])
      if (value !== null && Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return [low, high];
}

/** The head with the largest value of a table, LAYER.HEAD. */
export function bestOf({ values }: HeadTable): string {
  let best = { head: "0.0", value: -Infinity };
  values.forEach((row, layer) => {
    row.forEach((value, head) => {
      if (value > best.value) best = { head: `${layer}.${head}`, value };
    });
  });
  return best.head;
}
