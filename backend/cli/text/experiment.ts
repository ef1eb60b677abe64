import { join } from "node:path";
import type { KeptReport, ReportComparison } from "../../common/api/experiments.ts";
import type { Claim, Report } from "../../common/figures/report.ts";
import { measuredText } from "../../common/figures/text.ts";
import { type ParameterChange, settingText } from "../../common/words.ts";
import type { DefinitionSheet } from "./definition.ts";
import { bold, dim, table } from "./format.ts";

/** Experiments, what they claim and which reports of them are kept, for people. */
export function listText(
  documents: readonly (DefinitionSheet & {
    readonly claims: readonly Pick<Claim, "id" | "statement">[];
    readonly reports: readonly KeptReport[];
  })[],
): string {
  return documents
    .map(({ name, title, claims, reports }) => {
      const rows = claims.map(({ id, statement }) => [id, statement]);
      const lines = [`${bold(name)}: ${title}`, table(["claim", ""], rows, "  ")];
      return [...lines, ...(reports.length === 0 ? [] : ["", reportsText(reports)])].join("\n");
    })
    .join("\n\n");
}

/** Kept reports, newest first. @param above id of the one that stands above */
export function reportsText(reports: readonly KeptReport[], above?: string): string {
  const rows = reports.map((report) => [
    report.id,
    settingText(report),
    report.created.slice(0, 16).replace("T", " "),
    verdictsText(report.verdicts),
    report.id === above ? "shown" : "",
  ]);
  return table(["report", "", "made (UTC)", "claims", ""], rows, "  ");
}

/** Two reports beside each other. */
export function reportComparisonText(reports: readonly KeptReport[], { parameters, claims }: ReportComparison): string {
  const heads = reports.map(({ id }) => id);
  const verdicts = claims.map(({ id, same, results }) => [
    same ? "" : "differs",
    id,
    ...results.map((result) => result?.verdict ?? "-"),
  ]);
  return [
    parameters.length === 0
      ? "The parameters are the same."
      : table(
          ["parameter", ...heads],
          parameters.map(({ name, values }) => [name, ...values.map((value) => value ?? "-")]),
        ),
    "",
    table(["", "claim", ...heads], verdicts),
  ].join("\n");
}

function verdictsText(verdicts: KeptReport["verdicts"]): string {
  return Object.entries(verdicts)
    .map(([verdict, count]) => `${count} ${verdict}`)
    .join(", ");
}

/** A report for people: verdicts with what was measured, and where the pictures are. */
export function reportText(report: Report, folder: string, changed: readonly ParameterChange[] = []): string {
  const claims = report.claims.map(({ id, statement, verdict, why, measured }) =>
    [
      `${bold(verdict)}: ${statement}`,
      `  ${why}`,
      ...Object.entries(measured).map(([name, value]) => dim(`  ${name}: ${measuredText(value)}`)),
      dim(`  (${id})`),
    ].join("\n"),
  );
  const { title, trials } = report.experiment;
  return [
    `${bold(title)} (${settingText({ preset: report.preset, changed })})`,
    "",
    ...claims.flatMap((claim) => [claim, ""]),
    ...(trials ? [dim(`Tried:  ${trials}`)] : []),
    `Report: ${join(folder, "report.html")}`,
    `Again:  ${report.command}`,
  ].join("\n");
}
