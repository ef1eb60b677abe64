import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { numberParser, studiedModelOptions, tokenOptions, wholeNumbers } from "../options.ts";

const EXAMPLES = `
Examples:
  headscope icv --model smollm2-135m --examples-file polite.json --text "Give me that" --out polite-vectors.json
  headscope generate --model smollm2-135m --text "Give me that" --interventions polite-vectors.json`;

/** `headscope icv`: in-context vectors. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("icv")
    .description("make in-context vectors of pairs of texts, and add them behind every layer")
    .addHelpText("after", EXAMPLES);
  studiedModelOptions(command).requiredOption(
    "--examples-file <file>",
    'JSON array of {"source", "target"}: a text, and the same as it is wanted; texts or ids',
  );
  tokenOptions(command)
    .option(
      "--layers <layers>",
      "layers to read and to change, with commas between (default all)",
      wholeNumbers("--layers", 0),
    )
    .option(
      "--strength <x>",
      "factor on the vectors, which are as long as the differences are along them",
      numberParser("--strength"),
      0.1,
    )
    .option("--out <file>", "file for the vectors times the strength, for --interventions of other commands");
  runs(command, async () => (await import("./icv.run.ts")).makeVectors);
}
