import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { integerParser, paramOption, seedOption, studiedModelOptions, textFileOption } from "../options.ts";

/** `headscope patterns search`: a sparse shape of prompt attention for every query head. */
export function register(program: Command, runs: Runs): void {
  const patterns = program
    .command("patterns")
    .description("sparse patterns of heads, which minference runs prompts with");
  const search = patterns
    .command("search")
    .description("find for every query head the shape that recalls most of its attention in a long sample");
  textFileOption(studiedModelOptions(search), "the sample; default a case of the task multi-key")
    .option("--tokens-file <file>", "the sample as token ids: a JSON array of one row")
    .option(
      "--tokens <n>",
      "most tokens of the sample; default 4096, or the model's context",
      integerParser("--tokens", 65),
    )
    .requiredOption("--out <file>", "where to write the patterns");
  paramOption(seedOption(search), "share, last, sinks or local of the candidates; may be repeated");
  runs(search, async () => (await import("./patterns.run.ts")).search);
}
