import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { integerParser, paramOption, seedOption } from "../options.ts";

/** `headscope tasks list`, `headscope tasks show NAME` and `headscope tasks sample NAME`. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("tasks")
    .description("list the synthetic tasks and those over long contexts, show one, or draw sequences of it");
  runs(command.command("list").description("list the tasks"), async () => (await import("./tasks.run.ts")).listTasks);
  runs(
    command.command("show <name>").description("show a task and its parameters"),
    async () => (await import("./tasks.run.ts")).showTask,
  );
  const sample = command
    .command("sample <name>")
    .description("draw sequences of a task, as a model sees them")
    .option("--count <n>", "how many sequences", integerParser("--count", 1), 3)
    .option("--model <model>", "whose tokenizer counts, for a task over a long context", "smollm2-135m")
    .option("--length <n>", "tokens of a prompt, for a task over a long context", integerParser("--length", 1), 512);
  seedOption(paramOption(sample, "a parameter of the task; may be repeated"));
  runs(sample, async () => (await import("./tasks.run.ts")).sampleTask);
}
