import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { integerParser, studiedModelOptions } from "../options.ts";

/** `headscope contexts`: where heads look in a corpus. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("contexts")
    .description("where heads look in a corpus: their strongest places, how far they look, how widely they spread");
  studiedModelOptions(command)
    .requiredOption("--heads <heads>", "heads to look at: 18.6,17.3 or top:8@scores.json#metric")
    .option("--corpus-file <file>", "a text, cut into rows of --length tokens")
    .option("--tokens-file <file>", "JSON array of rows of token ids of one length, instead of a text")
    .option(
      "--length <n>",
      "tokens of a row of the corpus (default 128, or the model's context)",
      integerParser("--length", 2),
    )
    .option("--rows <n>", "most rows, from the beginning", integerParser("--rows", 1), 64)
    .option("--top <n>", "contexts of each head, at most one a row", integerParser("--top", 0), 10);
  runs(command, async () => (await import("./contexts.run.ts")).lookAtContexts);
}
