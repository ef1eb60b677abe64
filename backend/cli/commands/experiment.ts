import { availableParallelism } from "node:os";
import { type Command, Option } from "commander";
import { PRESETS } from "../../common/words.ts";
import type { Runs } from "../context.ts";
import { integerParser, paramOption, wordParser } from "../options.ts";

/** Experiments that run-all runs at a time unless it is told: each takes a gigabyte or two. */
const MOST_AT_ONCE = 4;

/** `headscope experiment list`, `run`, `run-all`, `report`, `compare` and `verdicts`: scripted reproductions and their reports. */
export function register(program: Command, runs: Runs): void {
  const experiment = program
    .command("experiment")
    .description("reproduce a paper's claims: train, measure, and report a verdict on each");
  registerList(experiment, runs);
  registerRun(experiment, runs);
  registerRunAll(experiment, runs);
  registerReport(experiment, runs);
  registerCompare(experiment, runs);
  registerVerdicts(experiment, runs);
}

function registerList(experiment: Command, runs: Runs): void {
  runs(
    experiment.command("list").description("list the experiments, their claims, and every report that is kept"),
    async () => (await import("./experiment.run.ts")).listExperiments,
  );
}

function registerRun(experiment: Command, runs: Runs): void {
  const command = experiment
    .command("run <name>")
    .description(
      "run an experiment and write its report (JSON, HTML, PNG); finished runs of an earlier call are used again",
    )
    .addOption(presetOption())
    .option("--seeds <list>", "seeds, same as --param seeds=0,1,2,3")
    .option("--out <dir>", "folder of the report (default: one of its own in experiments/ of the data folder)");
  paramOption(command, "a parameter of the experiment; may be repeated");
  runs(command, async () => (await import("./experiment.run.ts")).reproduce);
}

function registerRunAll(experiment: Command, runs: Runs): void {
  runs(
    experiment
      .command("run-all")
      .description(
        "run every experiment, some at a time, and print its verdicts; one that fails does not stop the others",
      )
      .addOption(presetOption())
      .addOption(
        new Option("--at-once <count>", "experiments at a time, which share the cores")
          .argParser(integerParser("--at-once", 1))
          .default(Math.min(availableParallelism(), MOST_AT_ONCE), "one a core, at most 4"),
      ),
    async () => (await import("./experiment.run.ts")).reproduceAll,
  );
}

/** --preset of a run, with its default. */
function presetOption(): Option {
  return new Option("--preset <size>", "quick: minutes on two cores; full: the paper's setting or near it")
    .argParser(wordParser("--preset", PRESETS))
    .default("quick");
}

function registerReport(experiment: Command, runs: Runs): void {
  const command = experiment
    .command("report <name>")
    .description("print a report of an experiment, and which others are kept")
    .option("--id <report>", "which one, as experiment list names it (default: the newest)")
    .option("--preset <size>", "the newest of this preset", wordParser("--preset", PRESETS));
  runs(command, async () => (await import("./experiment.run.ts")).showReport);
}

function registerCompare(experiment: Command, runs: Runs): void {
  const command = experiment
    .command("compare <name> <first> <second>")
    .description("two reports beside each other: the parameters that differ, and what became of every claim");
  runs(command, async () => (await import("./experiment.run.ts")).compareTwoReports);
}

function registerVerdicts(experiment: Command, runs: Runs): void {
  const command = experiment
    .command("verdicts")
    .description(
      "a Markdown table of all experiments: how many claims were reproduced, not reproduced, or neither in the newest report of each preset",
    )
    .option("--preset <size>", "of this preset alone (default: both)", wordParser("--preset", PRESETS))
    .option(
      "--update <file>",
      "bring the table of a Markdown file up to date, between the lines <!-- verdicts --> and <!-- /verdicts -->; what no report is kept of stays",
    )
    .option("--figures <folder>", "write the figures of these reports there too, as NAME-PRESET-FIGURE.svg");
  runs(command, async () => (await import("./experiment.run.ts")).showVerdicts);
}
