import type { Curves } from "./curves.ts";

/**
 * A run's measurements as CSV (RFC 4180 quoting, lines end with \n): the column `step`, then a column a metric in the
 * curves' order, a line for every step at which anything was measured. A cell is empty where its metric was not;
 * numbers have all their digits, so reading them back gives the same ones (NaN and Infinity are written so).
 */
export function curvesCsv(curves: Curves): string {
  const values = new Map<number, string[]>();
  [...curves.values()].forEach((curve, column) => {
    for (const { step, value } of curve) {
      const row = values.get(step) ?? new Array<string>(curves.size).fill("");
      row[column] = String(value);
      values.set(step, row);
    }
  });
  const steps = [...values.keys()].sort((a, b) => a - b);
  const rows = steps.map((step) => [String(step), ...values.get(step)!]);
  return csvText([["step", ...curves.keys()], ...rows]);
}

/** Cells as CSV, quoted where they must be. */
export function csvText(rows: readonly (readonly string[])[]): string {
  return rows.map((row) => `${row.map(quote).join(",")}\n`).join("");
}

function quote(cell: string): string {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
