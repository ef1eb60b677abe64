import { join } from "node:path";
import type { PrunedCircuit } from "../../circuits/evaluation/prune.ts";
import type { CircuitComparison, CircuitEvaluation } from "../../common/api/circuits.ts";
import { counted } from "../../common/text.ts";
import { REPORT_HTML } from "../../reports/report.ts";
import { bold, count, dim, number, percent, right, table } from "./format.ts";

/** A pruned circuit for people. @param out the file it is in */
export function prunedText({ edges, pruned }: PrunedCircuit, ref: string, out?: string): string {
  return [
    `${bold(`${count(edges.length)} of ${count(pruned.from)} edges`)} are left in ${ref}: faithfulness ${percent(pruned.faithfulness)} by ${pruned.metric}, at least ${percent(pruned.target)} asked`,
    `  ${counted(pruned.runs, "circuit")} run`,
    out === undefined ? "Keep them with --out FILE." : `Written to ${out}.`,
  ].join("\n");
}

/** Two circuits' overlap for people. @param files of the two */
export function comparedText({ edges, nodes, rank }: CircuitComparison, files: readonly [string, string]): string {
  const row = (what: string, { first, second, both, jaccard }: CircuitComparison["edges"]): string[] => [
    what,
    count(first),
    count(second),
    count(both),
    jaccard === null ? "-" : number(jaccard),
  ];
  return [
    table(
      ["", right(files[0]), right(files[1]), right("both"), right("both / either")],
      [row("edges", edges), row("heads and MLPs", nodes)],
    ),
    rank.correlation === null
      ? dim("No two edges are scored by both, so there is no rank correlation.")
      : `Rank correlation of the scores of ${count(rank.edges)} edges: ${number(rank.correlation)}`,
  ].join("\n");
}

/** A circuit's evaluation for people. @param out the folder of its report */
export function evaluationText(evaluation: CircuitEvaluation, out?: string): string {
  const { model, metric, edges, total, pairs, clean, corrupt, verdicts, cpr, cmd, notes = [] } = evaluation;
  return [
    `${bold(`${count(edges)} of ${count(total)} edges`)} of ${model.ref} over ${counted(pairs, "pair")}: ${metric} ${number(clean)} clean, ${number(corrupt)} corrupt`,
    table(
      ["claim", "verdict", "measured"],
      verdicts.map(({ statement, verdict, why }) => [statement, verdict, why]),
      "  ",
    ),
    ...templatesText(evaluation),
    `  CPR ${cpr === null ? "-" : number(cpr)}, CMD ${cmd === null ? "-" : number(cmd)}`,
    ...notes.map((note) => dim(`  ${note}`)),
    "",
    out === undefined ? "Write the report with --out FOLDER." : `Written to ${join(out, REPORT_HTML)}.`,
  ].join("\n");
}

/** Faithfulness by template, a line where the pairs name several. */
function templatesText({ templates = {} }: CircuitEvaluation): string[] {
  const all = Object.entries(templates).map(([name, { value, pairs }]) => `${name} ${percent(value)} (${pairs})`);
  return all.length === 0 ? [] : [`  by template: ${all.join(", ")}`];
}
