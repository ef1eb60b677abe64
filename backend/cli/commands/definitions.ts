import type { Command } from "commander";
import type { Runs } from "../context.ts";

/** `headscope definitions [kind]`: everything that has a name, with the JSON Schemas of its parameters. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("definitions [kind]")
    .description(
      "print probes, tasks, policies, experiments, exports and imports with the JSON Schemas of their parameters",
    );
  runs(command, async () => (await import("./definitions.run.ts")).printDefinitions);
}
