import { join } from "node:path";
import { z } from "zod";
import packageJson from "../../package.json" with { type: "json" };
import { HeadscopeError } from "../common/errors.ts";
import { VERDICTS } from "../common/verdicts.ts";
import { formatJson, readJson } from "../json.ts";
import { writeFileAtomic } from "../paths.ts";
import { figureSchema } from "./figure.ts";
import { htmlReport } from "./html.ts";
import { toPng } from "./png.ts";
import { toSvg } from "./svg.ts";

/** Schema of a claim with what was measured. */
export const claimSchema = z.object({
  id: z.string(),
  /** What the paper says, in one sentence. */
  statement: z.string(),
  /** The paper, and where it says so. */
  source: z.string(),
  /** The check, with its thresholds, as it was fixed before the runs. */
  check: z.string(),
  /** By name; null where there was nothing to measure. */
  measured: z.record(z.string(), z.union([z.number(), z.string(), z.null()])),
  verdict: z.enum(VERDICTS),
  /** Why this verdict, in one sentence. */
  why: z.string(),
});
export type Claim = z.output<typeof claimSchema>;

const FORMAT = "headscope.report/1";

/** Schema of a report: everything that its HTML shows. */
export const reportSchema = z.object({
  format: z.literal(FORMAT),
  experiment: z.object({
    name: z.string().regex(/^[a-z0-9]+(-[a-z0-9]+)*$/),
    title: z.string(),
    description: z.string(),
    source: z.string(),
  }),
  preset: z.string(),
  parameters: z.record(z.string(), z.unknown()),
  /** The command line that makes this report again. */
  command: z.string(),
  summary: z.string(),
  claims: z.array(claimSchema),
  figures: z.array(figureSchema),
  /** Names of the runs that it draws on. */
  runs: z.array(z.string()),
  /** ISO time. */
  created: z.string(),
  /** Version of headscope. */
  headscope: z.string(),
});
export type Report = z.output<typeof reportSchema>;

/** Completes a report with its format, time and version. */
export function createReport(parts: Omit<Report, "format" | "created" | "headscope">): Report {
  return { format: FORMAT, ...parts, created: new Date().toISOString(), headscope: packageJson.version };
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
  throw new HeadscopeError("input", `${path} is not a ${FORMAT} document: ${at.join(".") || "document"}: ${message}`, {
    remedy: "run the experiment again",
  });
}
