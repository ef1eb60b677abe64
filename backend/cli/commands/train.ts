import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { integerParser, paramOption } from "../options.ts";

/** `headscope train TASK`: trains a toy transformer, measured and saved as it learns. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("train [task]")
    .description("train a toy transformer on a synthetic task (headscope tasks list names the tasks)")
    .option("--steps <n>", "optimiser steps, same as --param steps=N", integerParser("--steps", 1))
    .option("--seed <n>", "seed of initial weights and data, default 0", integerParser("--seed", 0))
    .option("--seeds <list>", "several seeds, trained together: 0,1,2,3")
    .option("--probes <list>", "probes that are measured along: induction,previous-token, or none")
    .option("--from <run>", "begin with the weights of a run, run:ID or run:ID@step; same as --param from=RUN")
    .option("--resume <run>", "go on with a run that was stopped, and with those trained together with it");
  paramOption(
    command,
    "a parameter of the task, the model or the training (headscope tasks show TASK); may be repeated",
  );
  runs(command, async () => (await import("./train.run.ts")).trainTask);
}
