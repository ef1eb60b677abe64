import type { KeptReport, ReportComparison } from "../../../backend/common/api/experiments.ts";
import { parameterText } from "../../../backend/common/command-line.ts";
import type { Report } from "../../../backend/common/figures/report.ts";
import { type Tone, toneOf } from "../../../backend/common/words.ts";
import type { Table } from "../components/card/files.ts";

/** "4 reproduced, 1 not reproduced", the good news first. */
export function verdictsText(verdicts: Readonly<Record<string, number>>): string {
  const order: readonly Tone[] = ["good", "bad", "open"];
  return Object.entries(verdicts)
    .filter(([, count]) => count > 0)
    .sort(([a], [b]) => order.indexOf(toneOf(a)) - order.indexOf(toneOf(b)))
    .map(([verdict, count]) => `${count} ${verdict}`)
    .join(", ");
}

/** A claim with its verdict, where there is a report. */
export interface ClaimVerdict {
  readonly id: string;
  readonly statement: string;
  readonly verdict?: string;
  readonly why?: string;
}

/** The claims of an experiment, each with what a report says of it; those that the report does not have are without. */
export function claimVerdicts(
  claims: readonly { readonly id: string; readonly statement: string }[],
  results: KeptReport["claims"] = [],
): ClaimVerdict[] {
  return claims.map(({ id, statement }) => {
    const result = results.find((each) => each.id === id);
    return { id, statement, ...(result && { verdict: result.verdict, why: result.why }) };
  });
}

/** Rows of a report's claims for a CSV file. */
export function claimRows({ claims }: Report): Table {
  return {
    columns: ["claim", "verdict", "measured", "value", "why"],
    rows: claims.flatMap(({ id, verdict, measured, why }) =>
      Object.entries(measured).map(([name, value]) => [id, verdict, name, value ?? "", why]),
    ),
  };
}

/** The preset and the parameters, as text. */
export function settingRows({ preset, parameters }: Report): [name: string, value: string][] {
  return [
    ["preset", preset],
    ...Object.entries(parameters).map(([name, value]): [string, string] => [name, parameterText(value)]),
  ];
}

/** Rows of two reports beside each other for a CSV file. @param columns what the two are called */
export function comparisonRows({ parameters, claims }: ReportComparison, columns: readonly string[]): Table {
  return {
    columns: ["what", "name", ...columns],
    rows: [
      ...parameters.map(({ name, values }) => ["parameter", name, ...values.map((value) => value ?? "")]),
      ...claims.map(({ id, results }) => ["verdict", id, ...results.map((result) => result?.verdict ?? "")]),
    ],
  };
}
