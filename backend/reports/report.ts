import { join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { HeadscopeError } from "../common/errors.ts";
import { REPORT_FORMAT, type Report, reportSchema } from "../common/figures/report.ts";
import { formatJson, readJson } from "../json.ts";
import { writeFileAtomic } from "../paths.ts";
import { htmlReport } from "./html.ts";
import { toPng } from "./png.ts";
import { toSvg } from "./svg.ts";

/** Completes a report with its format, time and version. */
export function createReport(parts: Omit<Report, "format" | "created" | "headscope">): Report {
  return { format: REPORT_FORMAT, ...parts, created: new Date().toISOString(), headscope: packageJson.version };
}

/** Names of the files of a report in its folder; a PNG of each figure is named like it. */
export const REPORT_JSON = "report.json";
export const REPORT_HTML = "report.html";

/**
 * Writes report.json, report.html and a PNG for each figure.
 * @returns the paths written, report.json last: a folder that has it has the rest
 */
export async function writeReport(folder: string, report: Report): Promise<string[]> {
  const paths: string[] = [];
  const write = async (name: string, content: string | Uint8Array) => {
    paths.push(join(folder, name));
    await writeFileAtomic(paths.at(-1)!, content);
  };
  for (const figure of report.figures) await write(`${figure.name}.png`, await toPng(toSvg(figure)));
  await write(REPORT_HTML, await htmlReport(report));
  await write(REPORT_JSON, `${formatJson(report)}\n`);
  return paths;
}

/**
 * Reads the report of a folder.
 * @throws HeadscopeError `missing` where there is none, `input` where the file is no report of this version
 */
export async function readReport(folder: string): Promise<Report> {
  const path = join(folder, REPORT_JSON);
  const parsed = reportSchema.safeParse(await readJson(path, "report"));
  if (parsed.success) return parsed.data;
  const { path: at, message } = parsed.error.issues[0]!;
  throw new HeadscopeError(
    "input",
    `${path} is not a ${REPORT_FORMAT} document: ${at.join(".") || "document"}: ${message}`,
    { remedy: "run the experiment again" },
  );
}
