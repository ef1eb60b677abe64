import { percentile } from "../../heads/finder/finder.ts";
import type { Table } from "../card/files.ts";
import type { Ranked } from "../head-grid/grid.ts";
import type { Metric } from "./metrics.ts";

/** Metrics as a Select takes them, grouped by where they are from. */
export function metricOptions(metrics: readonly Metric[]): { value: string; label: string; group: string }[] {
  const group = ({ axis, document, text }: Metric): string => {
    if (text !== undefined) return "On your text";
    if (document === undefined) return "Measured in training";
    return axis === "kvHeads" ? "Scores of KV heads" : "Scores";
  };
  return metrics.map((metric) => ({ value: metric.id, label: metric.label, group: group(metric) }));
}

/** A ranking as a table of text; heads of one value have the rank of their first. @param total heads that were ranked, of which these may be some */
export function rankedCsv(ranked: readonly Ranked[], metric: Metric, total = ranked.length): Table {
  return {
    columns: ["layer", metric.axis === "heads" ? "head" : "kv_head", metric.name, "rank", "percentile"],
    rows: ranked.map(({ layer, head, value, ties: [first, last] }) => [
      layer,
      head,
      value,
      first,
      percentile(last, total),
    ]),
  };
}
