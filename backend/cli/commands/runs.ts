import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { registerExport } from "./runs-export.ts";
import { registerSoup } from "./runs-soup.ts";

/** `headscope runs list | show | diff | export | soup | rm`. */
export function register(program: Command, runs: Runs): void {
  const command = program.command("runs").description("list, show, compare, export, average and remove training runs");

  runs(command.command("list").description("list the runs"), async () => (await import("./runs.run.ts")).listRuns);

  runs(
    command.command("show <run>").description("show a run: parameters, curves and checkpoints"),
    async () => (await import("./runs.run.ts")).showRun,
  );

  runs(
    command.command("diff <a> <b>").description("compare two runs: parameters that differ, and last measurements"),
    async () => (await import("./runs.run.ts")).compareRuns,
  );

  registerExport(command, runs);
  registerSoup(command, runs);

  runs(
    command.command("rm <run>").description("remove a run with its curves and checkpoints"),
    async () => (await import("./runs.run.ts")).removeRun,
  );
}
