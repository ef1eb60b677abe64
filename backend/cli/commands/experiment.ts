import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import { PRESETS, type Preset } from "../../common/presets.ts";
import { runs } from "../context.ts";
import { oneOf, paramOption } from "../options.ts";

interface RunOptions {
  preset: Preset;
  param?: string[];
  seeds?: string;
  out?: string;
}

interface ReportOptions {
  id?: string;
  preset?: Preset;
}

/** `headscope experiment list`, `run`, `report` and `compare`: scripted reproductions and their reports. */
export function register(program: Command): void {
  const experiment = program
    .command("experiment")
    .description("reproduce a paper's claims: train, measure, and report a verdict on each");
  registerList(experiment);
  registerRun(experiment);
  registerReport(experiment);
  registerCompare(experiment);
}

function registerList(experiment: Command): void {
  runs(
    experiment.command("list").description("list the experiments, their claims, and every report that is kept"),
    async (context) => {
      const [{ experiments, keptReports }, { definitionDocument }, { listText }] = await Promise.all([
        import("../../../experiments/index.ts"),
        import("../text/definition.ts"),
        import("../text/experiment.ts"),
      ]);
      const documents = await Promise.all(
        experiments.list().map(async (each) => {
          const { name, claims, presets } = each;
          return { ...definitionDocument(experiments, name), claims, presets, reports: await keptReports(each) };
        }),
      );
      await context.print(documents, () => listText(documents));
    },
  );
}

function registerRun(experiment: Command): void {
  const command = experiment
    .command("run <name>")
    .description(
      "run an experiment and write its report (JSON, HTML, PNG); finished runs of an earlier call are used again",
    )
    .option(
      "--preset <size>",
      "quick: minutes on two cores; full: the paper's setting or near it",
      oneOf("--preset", PRESETS),
      "quick",
    )
    .option("--seeds <list>", "seeds, same as --param seeds=0,1,2,3")
    .option("--out <dir>", "folder of the report (default: one of its own in experiments/ of the data folder)");
  paramOption(command, "a parameter of the experiment; may be repeated");
  runs<RunOptions>(command, async (context, options, name) => {
    const [
      { experiments, experimentCommand, experimentParameters, runExperiment },
      { readPairs },
      { openStore },
      { reportText },
    ] = await Promise.all([
      import("../../../experiments/index.ts"),
      import("../../common/definitions/definition.ts"),
      import("../../store/store.ts"),
      import("../text/experiment.ts"),
    ]);
    const { preset, out, seeds } = options;
    const given: Record<string, string> = readPairs(options.param ?? []);
    if (seeds !== undefined) {
      if (given["seeds"] !== undefined)
        throw new HeadscopeError("usage", "seeds are given twice", { remedy: "give --seeds or --param seeds" });
      given["seeds"] = seeds;
    }
    const params = experimentParameters(experiments, name!, preset, given);
    const store = openStore();
    try {
      const { report, folder, id } = await runExperiment(experiments.get(name!), {
        store,
        preset,
        params,
        command: experimentCommand(name!, preset, given),
        signal: context.signal,
        progress: context.progress,
        ...(out === undefined ? {} : { out }),
      });
      await context.print(id === undefined ? report : { ...report, id }, () => reportText(report, folder));
    } finally {
      store.close();
      if (context.signal.aborted) context.note("  finished runs are kept: run the experiment again, and it goes on");
    }
  });
}

function registerReport(experiment: Command): void {
  const command = experiment
    .command("report <name>")
    .description("print a report of an experiment, and which others are kept")
    .option("--id <report>", "which one, as experiment list names it (default: the newest)")
    .option("--preset <size>", "the newest of this preset", oneOf("--preset", PRESETS));
  runs<ReportOptions>(command, async (context, choice, name) => {
    const [{ experiments, findReport, keptReports }, { historyText, reportText }] = await Promise.all([
      import("../../../experiments/index.ts"),
      import("../text/experiment.ts"),
    ]);
    if (choice.id !== undefined && choice.preset !== undefined)
      throw new HeadscopeError("usage", "--id and --preset cannot go together", { remedy: "give one of them" });
    const { report, folder, entry } = await findReport(experiments.get(name!), choice);
    const { id, changed } = entry;
    const history = await keptReports(experiments.get(name!));
    await context.print({ ...report, id, changed, history }, () =>
      [reportText(report, folder, changed), "", historyText(history, id)].join("\n"),
    );
  });
}

function registerCompare(experiment: Command): void {
  const command = experiment
    .command("compare <name> <first> <second>")
    .description("two reports beside each other: the parameters that differ, and what became of every claim");
  runs(command, async (context, _, name, first, second) => {
    const [{ compareReports, experiments, findReport }, { comparisonText }] = await Promise.all([
      import("../../../experiments/index.ts"),
      import("../text/experiment.ts"),
    ]);
    const found = await Promise.all([first, second].map((id) => findReport(experiments.get(name!), { id })));
    const comparison = compareReports(found[0]!.report, found[1]!.report);
    const reports = found.map(({ entry }) => entry);
    await context.print({ reports, ...comparison }, () => comparisonText(reports, comparison));
  });
}
