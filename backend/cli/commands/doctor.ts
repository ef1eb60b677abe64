import type { Command } from "commander";
import type { Runs } from "../context.ts";

/** `headscope doctor`: what this machine has, and what to mend. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("doctor")
    .description("report backend, versions, threads, cache and models, and what to mend");
  runs(command, async () => (await import("./doctor.run.ts")).examineMachine);
}
