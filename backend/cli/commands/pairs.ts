import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { integerParser, paramOption, seedOption, studiedModelOptions } from "../options.ts";

/** `headscope pairs NAME`, `headscope pairs list` and `headscope pairs show NAME`. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("pairs")
    .description("draw minimal pairs of a task for a model and see how often it is right; list the tasks, or show one");
  const draw = command
    .command("draw <name>", { isDefault: true })
    .description("draw pairs of a task (the word draw may be left out)")
    .option("--count <n>", "how many pairs", integerParser("--count", 1), 32)
    .option("--out <file>", "write the pair file there");
  seedOption(paramOption(studiedModelOptions(draw), "a parameter of the task; may be repeated"))
    .option("--prepend-bos", "put the BOS token before texts (default: as the tokenizer does)")
    .option("--no-prepend-bos", "put no BOS token before texts");
  runs(draw, async () => (await import("./pairs.run.ts")).drawPairs);
  runs(
    command.command("list").description("list the tasks of minimal pairs"),
    async () => (await import("./pairs.run.ts")).listPairTasks,
  );
  runs(
    command.command("show <name>").description("show a task and its parameters"),
    async () => (await import("./pairs.run.ts")).showPairTask,
  );
}
