import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { integerParser, interventionsOption, numberParser, numbers } from "../options.ts";

/** `headscope mask`: from head scores to the KV heads that keep everything. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("mask")
    .description("choose the KV heads that keep everything; the others keep first and recent tokens only")
    .requiredOption("--scores <file>", "head scores")
    .option("--metric <name>", "metric of the scores (default: the main one)")
    .option("--top <n>", "this many of the best KV heads keep everything", integerParser("--top", 0))
    .option("--quantile <share>", "this share of the KV heads, the lowest, keeps little", numberParser("--quantile"))
    .option("--threshold <score>", "KV heads that score at least this keep everything", numberParser("--threshold"))
    .option("--sink <n>", "first tokens the others keep (default: 64)", integerParser("--sink", 0))
    .option("--recent <n>", "latest tokens the others keep (default: 256)", integerParser("--recent", 1))
    .option("--smallest", "as few KV heads as answer every needle question that all of them answer; shows the curve")
    .option("--model <ref>", "with --smallest: the model that is asked (default: that of the scores)")
    .option("--lengths <list>", "with --smallest: tokens of the questions (default: 1000)", numbers("--lengths", 1))
    .option(
      "--depths <list>",
      "with --smallest: places of the needle (default: 0.1,0.5,0.9)",
      numbers("--depths", 0, 1),
    )
    .option(
      "--needles <n>",
      "with --smallest: questions at each length and depth (default: 1)",
      integerParser("--needles", 1),
    )
    .option("--out <file>", "where to write the mask");
  interventionsOption(command, "with --smallest: what to change in every run");
  runs(command, async () => (await import("./mask.run.ts")).chooseHeads);
}
