import type { Circuit, CircuitCurve, CircuitRunResult } from "../../common/api/circuits.ts";
import { METRICS, type MetricName } from "../../common/metrics.ts";
import { signed } from "../../common/text.ts";
import { EDGE_GROUPS } from "../../common/words.ts";
import { bold, count, dim, number, percent, right, table } from "./format.ts";

const EDGES_SHOWN = 15;

/** A circuit for people: its strongest edges, and sums by where edges go and come from. @param out the file it is in */
export function circuitText(circuit: Circuit, ref: string, out?: string): string {
  const { method, metric = METRICS[0], clean, corrupt, total, edges, nodes, totals, notes = [] } = circuit;
  const parts = nodes ?? edges.map(({ from, to, score }) => ({ node: `${from} -> ${to}`, score }));
  const strongest = parts.slice(0, EDGES_SHOWN).map(({ node, score }) => [node, signed(score)]);
  const groups = EDGE_GROUPS.flatMap((group) => {
    const sums = totals[group];
    return sums ? [[group, count(sums.edges), signed(sums.sum), number(sums.sumAbs)]] : [];
  });
  return [
    `${bold(`${nodes ? `${count(nodes.length)} nodes` : "edges"} by ${method}`)} in ${ref}: ${metric} ${number(clean)} clean, ${number(corrupt)} corrupt; ${count(edges.length)} of ${count(total)} edges kept`,
    table([nodes ? "node" : "edge", right("score")], strongest, "  "),
    "",
    table(["edges", right("number"), right("sum"), right("sum of sizes")], groups, "  "),
    ...notes.map((note) => dim(`  ${note}`)),
    "",
    out === undefined
      ? "Keep them with --out FILE."
      : `Written to ${out}; headscope circuit run --circuit ${out} runs it.`,
  ].join("\n");
}

/** A circuit's run for people. @param name of the metric */
export function runText(result: CircuitRunResult, ref: string, name: MetricName): string {
  const { clean, corrupt, metric, faithfulness, edges, total, notes = [] } = result;
  return [
    `${bold(`${count(edges)} of ${count(total)} edges`)} in ${ref}: ${name} ${number(metric)} (${number(clean)} clean, ${number(corrupt)} corrupt)`,
    `  faithfulness ${share(faithfulness)}`,
    ...notes.map((note) => dim(`  ${note}`)),
  ].join("\n");
}

/** A circuit's faithfulness by size for people. @param name of the metric */
export function curveText(result: CircuitCurve, ref: string, name: MetricName): string {
  const { clean, corrupt, total, curve, cpr, cmd, notes = [] } = result;
  const rows = curve.map(({ edges, share: part, metric, faithfulness }) => [
    count(edges),
    `${(100 * part).toFixed(part < 0.01 ? 2 : 1)} %`,
    number(metric),
    share(faithfulness),
  ]);
  return [
    `${bold("circuit by size")} in ${ref}: ${name} ${number(clean)} clean, ${number(corrupt)} corrupt, ${count(total)} edges`,
    table([right("edges"), right("of all"), right(name), right("faithfulness")], rows, "  "),
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
