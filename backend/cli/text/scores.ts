import { type HeadAxis, headFormat } from "../../common/heads/head.ts";
import { mainMetric } from "../../common/heads/metric.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import { rankTable } from "../../common/heads/table.ts";
import { counted } from "../../common/text.ts";
import { bold, dim, number, right, table } from "./format.ts";

/** The best heads of a table on one line: "18.6 0.93  17.3 0.88". */
export function topHeads(values: readonly (readonly number[])[], amount: number, axis: HeadAxis = "heads"): string {
  return rankTable(values)
    .slice(0, amount)
    .map((head) => `${headFormat(axis)(head).padStart(4)} ${number(head.value, 2)}`)
    .join("   ");
}

/**
 * Head scores for people: the best heads of every metric, and the summary.
 * @param amount heads of the main metric's table, default 10
 */
export function scoresText(scores: HeadScores, amount = 10): string {
  const { model, probe, summary } = scores;
  const main = mainMetric(scores);
  const axis = main.axis === "heads" ? "head" : "KV head";
  const rows = rankTable(main.values)
    .slice(0, amount)
    .map((head) => [
      String(head.rank),
      headFormat(main.axis)(head),
      number(head.value),
      "█".repeat(Math.round(20 * clip(head.value))),
    ]);
  const columns = [...["", axis, main.name].map(right), ""];
  const others = Object.entries(scores.metrics)
    .filter(([name]) => name !== main.name)
    .map(([name, { values, axis }]) => `${name}: ${topHeads(values, 5, axis)}`);
  const facts = Object.entries(summary).map(
    ([name, value]) => `${name} ${Number.isInteger(value) ? value : number(value)}`,
  );
  return [
    `${bold(probe)} of ${model.ref}: ${counted(model.layers * model[main.axis], axis)}`,
    table(columns, rows, "  "),
    ...others,
    ...(facts.length === 0 ? [] : [facts.join(", ")]),
    ...(scores.notes ?? []).map((note) => dim(note)),
  ].join("\n");
}

function clip(value: number): number {
  return Math.min(1, Math.max(0, value));
}
