import type { HeadHistory } from "../../../probes/history.ts";
import { formatHead } from "../../common/heads/head.ts";
import { rankTable } from "../../common/heads/table.ts";
import { counted } from "../../common/text.ts";
import { bold, number, right, table } from "./format.ts";

/**
 * A probe's history of a run for people: a line a saved step, a column for each of the heads that score highest at any step.
 * @param amount heads that get a column, default 8
 */
export function historyText(history: HeadHistory, amount = 8): string {
  const { run, probe, model, steps, metrics } = history;
  const name = Object.hasOwn(metrics, probe) ? probe : Object.keys(metrics)[0]!;
  const { axis, values } = metrics[name]!;
  const peaks = values[0]!.map((row, l) => row.map((_, h) => Math.max(...values.map((step) => step[l]![h]!))));
  const top = rankTable(peaks).slice(0, amount);
  const columns = ["step", ...top.map(formatHead)].map(right);
  const rows = steps.map((step, s) => [
    String(step),
    ...top.map(({ layer, head }) => number(values[s]![layer]![head]!)),
  ]);
  const heads = counted(model.layers * model[axis], axis === "heads" ? "head" : "KV head");
  return [
    `${bold(name)} of ${run} at ${counted(steps.length, "saved step")}: ${
      top.length === model.layers * model[axis] ? heads : `the ${top.length} highest of ${heads}`
    }`,
    table(columns, rows, "  "),
  ].join("\n");
}
