import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { wordParser } from "../options.ts";

/** Adds `export RUN` to `headscope runs`: a run's curves for other programs. */
export function registerExport(runsCommand: Command, runs: Runs): void {
  runs(
    runsCommand
      .command("export <run>")
      .description("write a run's metrics as a CSV file or a folder for TensorBoard")
      .requiredOption("--format <format>", "csv or tensorboard", wordParser("--format", ["csv", "tensorboard"]))
      .requiredOption("--out <path>", "file (csv) or folder (tensorboard) to write")
      .option("--force", "replace a folder that an earlier export wrote"),
    async () => (await import("./runs-export.run.ts")).exportRun,
  );
}
