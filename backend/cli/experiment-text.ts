import { join } from "node:path";
import { measuredText } from "../reports/html.ts";
import type { Claim, Report } from "../reports/report.ts";
import type { DefinitionDocument } from "./definition-text.ts";
import { bold, dim, table } from "./format.ts";

/** Experiments and what they claim, for people. */
export function listText(
  documents: readonly (DefinitionDocument & { readonly claims: readonly Pick<Claim, "id" | "statement">[] })[],
): string {
  return documents
    .map(({ name, title, claims }) => {
      const rows = claims.map(({ id, statement }) => [id, statement]);
      return [`${bold(name)}: ${title}`, table([{ head: "claim" }, { head: "" }], rows, "  ")].join("\n");
    })
    .join("\n\n");
}

/** A report for people: verdicts with what was measured, and where the pictures are. */
export function reportText(report: Report, folder: string): string {
  const claims = report.claims.map(({ id, statement, verdict, why, measured }) =>
    [
      `${bold(verdict)}: ${statement}`,
      `  ${why}`,
      ...Object.entries(measured).map(([name, value]) => dim(`  ${name}: ${measuredText(value)}`)),
      dim(`  (${id})`),
    ].join("\n"),
  );
  return [
    `${bold(report.experiment.title)} (${report.preset})`,
    "",
    ...claims.flatMap((claim) => [claim, ""]),
    `Report: ${join(folder, "report.html")}`,
    `Again:  ${report.command}`,
  ].join("\n");
}
