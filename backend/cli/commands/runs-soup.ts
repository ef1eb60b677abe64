import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { wordParser } from "../options.ts";

/** Adds `soup RUN RUN ...` to `headscope runs`: the mean of runs' weights as a run. */
export function registerSoup(runsCommand: Command, runs: Runs): void {
  runs(
    runsCommand
      .command("soup <runs...>")
      .description("average the weights of runs (id, run:ID@step) into a new run that every command can load")
      .option(
        "--method <method>",
        "uniform: all of them; greedy: those with which the mean gets no worse",
        wordParser("--method", ["uniform", "greedy"]),
        "uniform",
      )
      .option(
        "--metric <name>",
        "measure that a greedy soup is chosen by (default: accuracy or loss of the first evaluation)",
      ),
    async () => (await import("./runs-soup.run.ts")).soupRuns,
  );
}
