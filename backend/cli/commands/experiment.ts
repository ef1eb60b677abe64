import type { Command } from "commander";
import { HeadscopeError } from "../../errors.ts";
import { runs } from "../context.ts";
import { oneOf, paramOption } from "../options.ts";

const PRESETS = ["quick", "full"] as const;
type Preset = (typeof PRESETS)[number];

interface RunOptions {
  preset: Preset;
  param?: string[];
  seeds?: string;
  out?: string;
}

interface ReportOptions {
  preset?: Preset;
}

/** `headscope experiment list`, `run NAME` and `report NAME`: scripted reproductions and their reports. */
export function register(program: Command): void {
  const experiment = program
    .command("experiment")
    .description("reproduce a paper's claims: train, measure, and report a verdict on each");
  registerList(experiment);
  registerRun(experiment);
  registerReport(experiment);
}

function registerList(experiment: Command): void {
  runs(experiment.command("list").description("list the experiments and their claims"), async (context) => {
    const [{ experiments }, { definitionDocument }, { listText }] = await Promise.all([
      import("../../../experiments/index.ts"),
      import("../definition-text.ts"),
      import("../experiment-text.ts"),
    ]);
    const documents = experiments
      .list()
      .map(({ name, claims, presets }) => ({ ...definitionDocument(experiments, name), claims, presets }));
    await context.print(documents, () => listText(documents));
  });
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
    .option("--out <dir>", "folder of the report (default: experiments/NAME-PRESET in the data folder)");
  paramOption(command, "a parameter of the experiment; may be repeated");
  runs<RunOptions>(command, async (context, options, name) => {
    const [
      { experiments, experimentCommand, experimentParameters, runExperiment },
      { readPairs },
      { openStore },
      { reportText },
    ] = await Promise.all([
      import("../../../experiments/index.ts"),
      import("../../definitions/definition.ts"),
      import("../../store/store.ts"),
      import("../experiment-text.ts"),
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
      const { report, folder } = await runExperiment(experiments.get(name!), {
        store,
        preset,
        params,
        command: experimentCommand(name!, preset, given),
        signal: context.signal,
        progress: context.progress,
        ...(out === undefined ? {} : { out }),
      });
      await context.print(report, () => reportText(report, folder));
    } finally {
      store.close();
      if (context.signal.aborted) context.note("  finished runs are kept: run the experiment again, and it goes on");
    }
  });
}

function registerReport(experiment: Command): void {
  const command = experiment
    .command("report <name>")
    .description("print the report of an experiment's latest run")
    .option("--preset <size>", "which one (default: the newest)", oneOf("--preset", PRESETS));
  runs<ReportOptions>(command, async (context, { preset }, name) => {
    const [{ experiments, latestReport }, { reportText }] = await Promise.all([
      import("../../../experiments/index.ts"),
      import("../experiment-text.ts"),
    ]);
    const { report, folder } = await latestReport(experiments.get(name!).name, preset);
    await context.print(report, () => reportText(report, folder));
  });
}
