import { join } from "node:path";
import { type PolicyEvaluation, policyEvaluation } from "../../common/api/evaluations.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { formatJson, readJson } from "../../json.ts";
import { writeFileAtomic } from "../../paths.ts";
import { evaluationCsv } from "./csv.ts";
import { evaluationReport } from "./report.ts";

/** Names of the files of an evaluation in its folder. */
export const EVALUATION_FILES = { json: "results.json", csv: "results.csv", html: "report.html" } as const;

/**
 * Writes an evaluation as CSV, as a page, and as it is.
 * @returns the paths written; the last one is there once all are
 */
export async function writeEvaluation(folder: string, evaluation: PolicyEvaluation): Promise<string[]> {
  const { json, csv, html } = EVALUATION_FILES;
  const files = [
    [join(folder, csv), evaluationCsv(evaluation)],
    [join(folder, html), evaluationReport(evaluation)],
    [join(folder, json), `${formatJson(evaluation)}\n`],
  ] as const;
  for (const [path, content] of files) await writeFileAtomic(path, content);
  return files.map(([path]) => path);
}

/**
 * Reads the evaluation of a folder.
 * @throws HeadscopeError (missing) where there is none, (input) where its file is none of this version
 */
export async function readEvaluation(folder: string): Promise<PolicyEvaluation> {
  const path = join(folder, EVALUATION_FILES.json);
  const parsed = policyEvaluation.safeParse(await readJson(path, "evaluation"));
  if (parsed.success) return parsed.data;
  const { path: field, message } = parsed.error.issues[0]!;
  throw new HeadscopeError("input", `${path} is no evaluation of this version: ${field.join(".")}: ${message}`, {
    remedy: "evaluate again",
    subject: path,
  });
}
