import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { integerParser, PAIR_FILE, paramOption, seedOption, studiedModelOptions } from "../options.ts";

/** `headscope pairs NAME`, `headscope pairs answer`, `headscope pairs list` and `headscope pairs show NAME`. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("pairs")
    .description(
      "draw minimal pairs of a task for a model, see how often it is right, on those of a file too; list the tasks, or show one",
    );
  const draw = command
    .command("draw <name>", { isDefault: true })
    .description("draw pairs of a task (the word draw may be left out)")
    .option("--count <n>", "how many pairs", integerParser("--count", 1), 32)
    .option("--out <file>", "write the pair file there");
  bosOption(seedOption(paramOption(studiedModelOptions(draw), "a parameter of the task; may be repeated")));
  runs(draw, async () => (await import("./pairs.run.ts")).drawPairs);

  const answer = command
    .command("answer")
    .description("say how often a model is right on the pairs of a file, with a head mask or without")
    .requiredOption("--pair-file <file>", PAIR_FILE)
    .option(
      "--mask <file>",
      "head mask: its streaming heads see first and recent tokens only, its ablated heads write 0",
    )
    .option("--controls <n>", "with --mask: random masks of as many heads", integerParser("--controls", 0), 5);
  bosOption(seedOption(studiedModelOptions(answer)));
  runs(answer, async () => (await import("./pairs.run.ts")).answerPairFile);

  runs(
    command.command("list").description("list the tasks of minimal pairs"),
    async () => (await import("./pairs.run.ts")).listPairTasks,
  );
  runs(
    command.command("show <name>").description("show a task and its parameters"),
    async () => (await import("./pairs.run.ts")).showPairTask,
  );
}

function bosOption(command: Command): Command {
  return command
    .option("--prepend-bos", "put the BOS token before texts (default: as the tokenizer does)")
    .option("--no-prepend-bos", "put no BOS token before texts");
}
