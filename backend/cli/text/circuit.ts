import type { Circuit, CircuitCurve, CircuitRunResult } from "../../common/api/circuits.ts";
import { signed } from "../../common/text.ts";
import { EDGE_GROUPS } from "../../common/words.ts";
import { bold, count, dim, number, percent, right, table } from "./format.ts";

const EDGES_SHOWN = 15;

/** A circuit for people: its strongest edges, and sums by where edges go and come from. @param out the file it is in */
export function circuitText(circuit: Circuit, ref: string, out?: string): string {
  const { method, clean, corrupt, total, edges, totals, notes = [] } = circuit;
  const strongest = edges.slice(0, EDGES_SHOWN).map(({ from, to, score }) => [`${from} -> ${to}`, signed(score)]);
  const groups = EDGE_GROUPS.flatMap((group) => {
    const sums = totals[group];
    return sums ? [[group, count(sums.edges), signed(sums.sum), number(sums.sumAbs)]] : [];
  });
  return [
    `${bold(`edges by ${method}`)} in ${ref}: logit-diff ${number(clean)} clean, ${number(corrupt)} corrupt; ${count(edges.length)} of ${count(total)} edges kept`,
    table(["edge", right("score")], strongest, "  "),
    "",
    table(["edges", right("number"), right("sum"), right("sum of sizes")], groups, "  "),
    ...notes.map((note) => dim(`  ${note}`)),
    "",
    out === undefined
      ? "Keep them with --out FILE."
      : `Written to ${out}; headscope circuit run --circuit ${out} runs it.`,
  ].join("\n");
}

/** A circuit's run for people. */
export function runText(result: CircuitRunResult, ref: string): string {
  const { clean, corrupt, metric, faithfulness, edges, total, notes = [] } = result;
  return [
    `${bold(`${count(edges)} of ${count(total)} edges`)} in ${ref}: logit-diff ${number(metric)} (${number(clean)} clean, ${number(corrupt)} corrupt)`,
    `  faithfulness ${share(faithfulness)}`,
    ...notes.map((note) => dim(`  ${note}`)),
  ].join("\n");
}

/** A circuit's faithfulness by size for people. */
export function curveText({ clean, corrupt, total, curve, cpr, cmd, notes = [] }: CircuitCurve, ref: string): string {
  const rows = curve.map(({ edges, share: part, metric, faithfulness }) => [
    count(edges),
    `${(100 * part).toFixed(part < 0.01 ? 2 : 1)} %`,
    number(metric),
    share(faithfulness),
  ]);
  return [
    `${bold("circuit by size")} in ${ref}: logit-diff ${number(clean)} clean, ${number(corrupt)} corrupt, ${count(total)} edges`,
    table([right("edges"), right("of all"), right("logit-diff"), right("faithfulness")], rows, "  "),
    `  CPR ${area(cpr)} (area under the faithfulness), CMD ${area(cmd)} (between it and 1)`,
    ...notes.map((note) => dim(`  ${note}`)),
  ].join("\n");
}

function share(faithfulness: number | null): string {
  return faithfulness === null ? "-" : percent(faithfulness);
}

function area(value: number | null): string {
  return value === null ? "-" : number(value);
}
