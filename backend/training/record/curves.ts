import { type CsvCell, csvText } from "../../common/csv.ts";

/** A measurement of a run. */
export interface MetricPoint {
  readonly step: number;
  /** NaN where it was not a number. */
  readonly value: number;
}

/** A run's measurements by metric name, each ascending by step; not every metric is measured at every step. */
export type Curves = ReadonlyMap<string, readonly MetricPoint[]>;

/**
 * A run's measurements as CSV (RFC 4180 quoting, lines end with \n): the column `step`, then a column a metric in the
 * curves' order, a line for every step at which anything was measured. A cell is empty where its metric was not;
 * numbers have all their digits, so reading them back gives the same ones (NaN and Infinity are written so).
 */
export function curvesCsv(curves: Curves): string {
  const values = new Map<number, CsvCell[]>();
  [...curves.values()].forEach((curve, column) => {
    for (const { step, value } of curve) {
      const row = values.get(step) ?? new Array<CsvCell>(curves.size).fill("");
      row[column] = value;
      values.set(step, row);
    }
  });
  const steps = [...values.keys()].sort((a, b) => a - b);
  const rows = steps.map((step) => [step, ...values.get(step)!]);
  return csvText([["step", ...curves.keys()], ...rows]);
}
