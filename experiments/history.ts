import { createHash } from "node:crypto";
import { mkdir, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ComparedClaim, KeptReport, ReportComparison } from "../backend/common/api/experiments.ts";
import { parameterText } from "../backend/common/command-line.ts";
import { HeadscopeError, unknownName } from "../backend/common/errors.ts";
import type { Report } from "../backend/common/figures/report.ts";
import { type ParameterChange, PRESETS, type Preset } from "../backend/common/words.ts";
import { fileInside } from "../backend/files.ts";
import { dataDir, namesIn } from "../backend/paths.ts";
import { createReport, REPORT_JSON, readReport } from "../backend/reports/report.ts";
import type { Experiment } from "./base.ts";

/** A choice of a report: by its id, or the newest of all or of a preset. */
export interface ReportChoice {
  readonly id?: string | undefined;
  readonly preset?: Preset | undefined;
}

/** The folder that holds the folders of all reports. @param data data folder, default `dataDir()` */
export function reportsFolder(data = dataDir()): string {
  return join(data, "experiments");
}

/** The parameters that differ from the preset's, in the order of the schema; of an unknown preset none. */
function changedParameters(
  experiment: Experiment,
  preset: string,
  parameters: Readonly<Record<string, unknown>>,
): ParameterChange[] {
  if (!isPreset(preset)) return [];
  const defaults = experiment.parameters.parse(experiment.presets[preset]) as Record<string, unknown>;
  return Object.entries(parameters)
    .filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(defaults[name]))
    .map(([name, value]) => ({ name, value: parameterText(value) }));
}

/**
 * Makes the folder of a new report: its name says experiment, preset, a digest of what differs from the preset, and time, so that
 * no report takes another's place.
 * @param parts of the report, which is given its time here
 */
export async function placeReport(
  experiment: Experiment,
  parts: Parameters<typeof createReport>[0],
  data = dataDir(),
): Promise<{ report: Report; folder: string; id: string }> {
  const digest = createHash("sha256")
    .update(JSON.stringify(changedParameters(experiment, parts.preset, parts.parameters)))
    .digest("hex")
    .slice(0, 8);
  for (;;) {
    const report = createReport(parts);
    const id = `${experiment.name}-${parts.preset}-${digest}-${report.created.replaceAll(/[-:.]/g, "")}`;
    const folder = join(reportsFolder(data), id);
    try {
      await mkdir(folder);
      return { report, folder, id };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      await sleep(1); // another report of this millisecond
    }
  }
}

/** The reports of an experiment, newest first; folders without a sound report are left out. */
export async function keptReports(experiment: Experiment, data = dataDir()): Promise<KeptReport[]> {
  const entries = await Promise.all(reportIds(experiment, data).map((id) => shortened(experiment, id, data)));
  return entries.filter((entry) => entry !== undefined).sort((a, b) => b.created.localeCompare(a.created));
}

/**
 * A report of an experiment.
 * @throws HeadscopeError `missing` where there is none, `usage` for an unknown id, `input` where its file is no report
 */
export async function findReport(
  experiment: Experiment,
  { id, preset }: ReportChoice = {},
  data = dataDir(),
): Promise<{ report: Report; folder: string; entry: KeptReport }> {
  if (id !== undefined && !reportIds(experiment, data).includes(id)) {
    const { remedy } = unknownName("report", id, reportIds(experiment, data));
    throw new HeadscopeError("missing", `there is no report "${id}" of experiment ${experiment.name}`, {
      ...(remedy === undefined ? {} : { remedy }),
    });
  }
  const entry =
    id ?? (await keptReports(experiment, data)).find((entry) => preset === undefined || entry.preset === preset)?.id;
  if (entry === undefined)
    throw new HeadscopeError(
      "missing",
      `there is no report of experiment ${experiment.name}${preset ? ` (${preset})` : ""} in ${data}`,
      { remedy: `run it: headscope experiment run ${experiment.name}${preset === "full" ? " --preset full" : ""}` },
    );
  const folder = join(reportsFolder(data), entry);
  await reportPath(entry, data);
  const report = await readReport(folder);
  return { report, folder, entry: entryOf(experiment, entry, report) };
}

/** An experiment, and the reports that its verdicts are read from. */
export interface PresetReports {
  readonly name: string;
  /** The paper. */
  readonly source: string;
  /** The newest report of each preset that was asked for; null where none is kept. */
  readonly reports: Readonly<Partial<Record<Preset, KeptReport | null>>>;
}

/**
 * Finds the reports that an experiment's verdicts are read from: of each preset the newest that was made with nothing changed, and that
 * judges the claims which the experiment has now.
 * @param presets default both
 * @param data data folder, default `dataDir()`
 */
export async function presetReports(
  experiment: Experiment,
  presets: readonly Preset[] = PRESETS,
  data = dataDir(),
): Promise<PresetReports> {
  const claims = JSON.stringify(experiment.claims.map(({ id }) => id).sort());
  const kept = (await keptReports(experiment, data)).filter(
    (report) => report.changed.length === 0 && JSON.stringify(report.claims.map(({ id }) => id).sort()) === claims,
  );
  const newest = (preset: Preset): KeptReport | null => kept.find((report) => report.preset === preset) ?? null;
  const { name, source } = experiment;
  return { name, source, reports: Object.fromEntries(presets.map((preset) => [preset, newest(preset)])) };
}

/** Path of a report's file. @throws HeadscopeError `missing` where there is none, `input` for a link out of the data folder */
async function reportPath(id: string, data: string): Promise<string> {
  const path = await fileInside(data, relative(data, join(reportsFolder(data), id, REPORT_JSON)));
  if (path !== undefined) return path;
  throw new HeadscopeError("missing", `the report ${id} is not there any more`, { remedy: "choose another" });
}

/** Folders that may hold a report of an experiment: NAME-PRESET-DIGEST-TIME, and NAME-PRESET of earlier versions. */
function reportIds({ name }: Experiment, data: string): string[] {
  const pattern = new RegExp(`^${name}-(${PRESETS.join("|")})(-[0-9a-f]{8}-\\d{8}T\\d{9}Z)?$`);
  return namesIn(reportsFolder(data)).filter((each) => pattern.test(each));
}

function isPreset(name: string): name is Preset {
  return (PRESETS as readonly string[]).includes(name);
}

function entryOf(experiment: Experiment, id: string, report: Report): KeptReport {
  const { preset, parameters, created, summary, claims, figures } = report;
  const verdicts: Record<string, number> = {};
  for (const { verdict } of claims) verdicts[verdict] = (verdicts[verdict] ?? 0) + 1;
  return {
    ...{ id, preset, changed: changedParameters(experiment, preset, parameters), created, summary, verdicts },
    claims: claims.map(({ id, verdict, why }) => ({ id, verdict, why })),
    ...(figures.length > 0 ? { figure: figures[0]!.title } : {}),
  };
}

/** Entries that were read of report files, by path: a report has all its figures in it, and lists are asked for again and again. */
const cache = new Map<string, { readonly version: string; readonly entry: KeptReport }>();

async function shortened(experiment: Experiment, id: string, data: string): Promise<KeptReport | undefined> {
  const folder = join(reportsFolder(data), id);
  try {
    const path = await reportPath(id, data);
    const { mtimeMs, size, ino } = await stat(path);
    const version = `${mtimeMs} ${size} ${ino}`;
    const before = cache.get(path);
    if (before?.version === version) return before.entry;
    const report = await readReport(folder);
    if (report.experiment.name !== experiment.name) return undefined;
    const entry = entryOf(experiment, id, report);
    cache.set(path, { version, entry });
    return entry;
  } catch {
    return undefined; // not written to its end, or another version's
  }
}

/** Compares two reports: the parameters that differ, and what became of every claim. */
export function compareReports(first: Report, second: Report): ReportComparison {
  const both = [first, second];
  const settings = both.map(({ preset, parameters }) => new Map(Object.entries({ preset, ...parameters })));
  const names = [...new Set(settings.flatMap((each) => [...each.keys()]))];
  const ids = [...new Set(both.flatMap(({ claims }) => claims.map(({ id }) => id)))];
  return {
    parameters: names
      .map((name) => ({
        name,
        values: settings.map((each) => (each.has(name) ? parameterText(each.get(name)) : null)),
      }))
      .filter(({ values: [a, b] }) => a !== b),
    claims: ids.map((id) => {
      const pair = both.map(({ claims }) => claims.find((claim) => claim.id === id));
      const results = pair.map((claim): ComparedClaim | null => {
        if (claim === undefined) return null;
        const { verdict, why, measured } = claim;
        return { verdict, why, measured };
      });
      const same = results[0]?.verdict === results[1]?.verdict;
      return { id, statement: pair.find((claim) => claim !== undefined)!.statement, same, results };
    }),
  };
}
