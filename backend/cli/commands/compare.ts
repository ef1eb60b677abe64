import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { integerParser } from "../options.ts";

/** `headscope compare FIRST SECOND`: two models' heads by one metric, by relative depth. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("compare <first> <second>")
    .description("compare the heads of two models by their score files, at which depth the best of each lie")
    .option("--metric <name>", "metric of the scores (default: the main one)")
    .option("--top <n>", "best heads of each model (default: 5)", integerParser("--top", 1));
  runs(command, async () => (await import("./compare.run.ts")).compareModels);
}
