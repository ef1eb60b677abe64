import type { Command } from "commander";
import type { Runs } from "../context.ts";
import {
  inferenceOptions,
  integerParser,
  numbers,
  paramOption,
  policyOption,
  seedOption,
  studiedModelOptions,
} from "../options.ts";

/** `headscope needle`: questions about one sentence of a long text, with everything held and read, and with a mask or policies. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("needle")
    .description(
      "ask about one sentence in long texts, with everything held and read, and with a head mask or policies",
    );
  studiedModelOptions(command)
    .option("--mask <file>", "head mask: every question is also answered with its streaming heads")
    .requiredOption("--lengths <list>", "tokens of the prompts, with commas between", numbers("--lengths", 1))
    .option("--depths <list>", "places of the sentence, 0 to 1, with commas between", numbers("--depths", 0, 1), [0.5])
    .option("--needles <n>", "questions at each length and depth", integerParser("--needles", 1), 1)
    .option("--max-tokens <n>", "most tokens of an answer", integerParser("--max-tokens", 1));
  policyOption(command);
  paramOption(command, "a policy's parameter, NAME.k=v where there are several policies; may be repeated");
  seedOption(inferenceOptions(command));
  runs(command, async () => (await import("./needle.run.ts")).askNeedles);
}
