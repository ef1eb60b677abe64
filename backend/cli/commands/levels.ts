import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { integerParser, modelOptions, paramOption, seedOption, textFileOption } from "../options.ts";

/** `headscope levels find`: the levels that kvquant rounds a model's keys and values to. */
export function register(program: Command, runs: Runs): void {
  const levels = program
    .command("levels")
    .description("levels that kvquant rounds keys and values to, learned once for a model");
  const find = levels
    .command("find")
    .description("find each layer's levels on a sample, each number weighed by the loss's squared gradient");
  textFileOption(modelOptions(find), "the sample; default a case of the task multi-key")
    .option("--tokens-file <file>", "the sample as token ids: a JSON array of one row")
    .option(
      "--tokens <n>",
      "most tokens of the sample; default 2048, or the model's context",
      integerParser("--tokens", 128),
    )
    .requiredOption("--out <file>", "where to write the levels");
  paramOption(seedOption(find), "outliers, or length: tokens of a row that the sample is cut into; may be repeated");
  runs(find, async () => (await import("./levels.run.ts")).find);
}
