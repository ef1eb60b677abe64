import { join } from "node:path";
import {
  compareReports,
  experimentCommand,
  experimentParameters,
  experiments,
  type FinishedExperiment,
  findReport,
  keptReports,
  type PresetReports,
  presetReports,
  runExperiment,
} from "../../../experiments/index.ts";
import { readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { counted } from "../../common/text.ts";
import { PRESETS, type Preset } from "../../common/words.ts";
import { type EndedExperiment, runExperiments } from "../../jobs/kinds/run-experiments.ts";
import { readText } from "../../json.ts";
import { writeFileAtomic } from "../../paths.ts";
import { toSvg } from "../../reports/svg.ts";
import { openStore, type Store } from "../../store/store.ts";
import type { Context } from "../context.ts";
import { lineOf, ReportedFailure } from "../errors.ts";
import { definitionDocument } from "../text/definition.ts";
import { listText, reportComparisonText, reportsText, reportText } from "../text/experiment.ts";
import { updateVerdicts, verdictTable } from "../text/verdict-table.ts";

interface ExperimentCommandOptions {
  preset: Preset;
  param?: string[];
  seeds?: string;
  out?: string;
}

interface RunAllCommandOptions {
  preset: Preset;
  atOnce: number;
}

interface ReportCommandOptions {
  id?: string;
  preset?: Preset;
}

interface VerdictsCommandOptions {
  preset?: Preset;
  update?: string;
  figures?: string;
}

/** Prints every experiment with its claims and kept reports. */
export async function listExperiments(context: Context): Promise<void> {
  const documents = await Promise.all(
    experiments.list().map(async (each) => {
      const { name, claims, presets, trials } = each;
      return { ...definitionDocument(experiments, name), claims, presets, trials, reports: await keptReports(each) };
    }),
  );
  await context.print(documents, () => listText(documents));
}

/** Runs an experiment and writes its report; finished runs of an earlier call are used again. */
export async function reproduce(context: Context, options: ExperimentCommandOptions, name: string): Promise<void> {
  const { preset, out, seeds } = options;
  const changes: Record<string, string> = readPairs(options.param ?? []);
  if (seeds !== undefined) {
    if (changes["seeds"] !== undefined)
      throw new HeadscopeError("usage", "seeds are given twice", { remedy: "give --seeds or --param seeds" });
    changes["seeds"] = seeds;
  }
  const { report, folder, id } = await withStore(context, (store) =>
    finish(context, store, { name, preset, changes, out }),
  );
  await context.print(id === undefined ? report : { ...report, id }, () => reportText(report, folder));
}

/** Runs every experiment, some at a time, and prints verdicts as they come. @throws ReportedFailure where one failed, once the others have run */
export async function reproduceAll(context: Context, { preset, atOnce }: RunAllCommandOptions): Promise<void> {
  const reports: (FinishedExperiment["report"] & { id: string })[] = [];
  const failed: string[] = [];
  const ended = async ({ name, report: id, error }: EndedExperiment): Promise<void> => {
    if (id === undefined) {
      failed.push(name);
      return context.note(`headscope: ${name}: ${lineOf(error)}`);
    }
    const { report, folder } = await findReport(experiments.get(name), { id });
    reports.push({ ...report, id });
    await context.show(`${reportText(report, folder)}\n`);
  };
  let told = Promise.resolve();
  await withStore(context, (store) =>
    runExperiments(
      store,
      experiments.list().map(({ name }) => ({ name, preset })),
      {
        ...{ atOnce, signal: context.signal },
        onProgress: (done, total, names) => context.progress(done, total, "experiments", names.join(", ")),
        onEnd: (each) => {
          told = told.then(() => ended(each));
        },
      },
    ),
  );
  await told;
  await context.print(reports, () =>
    [
      ...reports.map(({ experiment, summary }) => `${experiment.name}: ${summary}`),
      ...failed.map((name) => `${name}: failed`),
    ].join("\n"),
  );
  if (failed.length > 0) throw new ReportedFailure(1);
}

/** An experiment as a command asks for it: what differs from the preset, and where its report goes. */
interface ExperimentChoice {
  readonly name: string;
  readonly preset: Preset;
  readonly changes: Readonly<Record<string, string>>;
  readonly out?: string | undefined;
}

/** Runs an experiment to its report. */
function finish(
  context: Context,
  store: Store,
  { name, preset, changes, out }: ExperimentChoice,
): Promise<FinishedExperiment> {
  return runExperiment(experiments.get(name), {
    store,
    preset,
    params: experimentParameters(experiments, name, preset, changes),
    command: experimentCommand(name, preset, changes),
    signal: context.signal,
    progress: context.progress,
    out,
  });
}

/** Does work with the store of runs; says how to go on where it is interrupted. */
async function withStore<T>(context: Context, work: (store: Store) => Promise<T>): Promise<T> {
  const store = openStore();
  try {
    return await work(store);
  } finally {
    store.close();
    if (context.signal.aborted) context.note("  finished runs are kept: run the same command again, and it goes on");
  }
}

/** Prints one report of an experiment, and which others are kept. */
export async function showReport(context: Context, choice: ReportCommandOptions, name: string): Promise<void> {
  if (choice.id !== undefined && choice.preset !== undefined)
    throw new HeadscopeError("usage", "--id and --preset cannot go together", { remedy: "give one of them" });
  const { report, folder, entry } = await findReport(experiments.get(name), choice);
  const { id, changed } = entry;
  const history = await keptReports(experiments.get(name));
  await context.print({ ...report, id, changed, history }, () =>
    [reportText(report, folder, changed), "", reportsText(history, id)].join("\n"),
  );
}

/** Prints two reports beside each other. @param ids of the first and the second */
export async function compareTwoReports(context: Context, _: object, name: string, ...ids: string[]): Promise<void> {
  const reports = await Promise.all(ids.map((id) => findReport(experiments.get(name), { id })));
  const comparison = compareReports(reports[0]!.report, reports[1]!.report);
  const entries = reports.map(({ entry }) => entry);
  await context.print({ reports: entries, ...comparison }, () => reportComparisonText(entries, comparison));
}

/** Prints the verdicts of all experiments as a Markdown table, or brings that of a file up to date, and draws the figures; says what no report is kept of. */
export async function showVerdicts(
  context: Context,
  { preset, update, figures }: VerdictsCommandOptions,
): Promise<void> {
  const presets = preset === undefined ? PRESETS : [preset];
  const rows = await Promise.all(experiments.list().map((each) => presetReports(each, presets)));
  if (update !== undefined)
    await writeFileAtomic(update, updateVerdicts(await readText(update, "Markdown file"), rows, update));
  if (figures !== undefined)
    context.note(`headscope: ${counted(await writeFigures(rows, figures), "figure")} in ${figures}`);
  for (const each of presets) {
    const missing = rows.filter(({ reports }) => reports[each] === null).map(({ name }) => name);
    const names = missing.length === rows.length ? "any experiment" : missing.join(", ");
    if (missing.length > 0) context.note(`headscope: no report of the ${each} preset is kept of ${names}`);
  }
  await context.print(rows, () => (update === undefined ? verdictTable(rows, presets) : `${update} is up to date`));
}

/** Draws every figure of the reports as NAME-PRESET-FIGURE.svg in a folder. @returns how many */
async function writeFigures(rows: readonly PresetReports[], folder: string): Promise<number> {
  let count = 0;
  for (const { name, reports } of rows)
    for (const entry of Object.values(reports)) {
      if (entry === null) continue;
      const { report } = await findReport(experiments.get(name), { id: entry.id });
      for (const figure of report.figures)
        await writeFileAtomic(join(folder, `${name}-${entry.preset}-${figure.name}.svg`), `${toSvg(figure)}\n`);
      count += report.figures.length;
    }
  return count;
}
