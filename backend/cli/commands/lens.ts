import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { integerParser, modelOptions, numberParser, questionOptions } from "../options.ts";

/** `headscope lens`: the logit lens, every layer's stream read out as if the model ended there. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("lens")
    .description("read the stream out before every layer, as if the model ended there (logit lens)");
  questionOptions(modelOptions(command))
    .option("--tuned-on <file>", "text to fit an affine map a layer on; every layer is then read through its map too")
    .option("--tuned-tokens <n>", "tokens of it that are used", integerParser("--tuned-tokens", 64), 2048)
    .option("--ridge <x>", "shrinks the maps towards the identity", numberParser("--ridge", 0), 0.1)
    .option("--top <n>", "likeliest tokens of every layer", integerParser("--top", 0), 5);
  runs(command, async () => (await import("./lens.run.ts")).readLens);
}
