import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { integer, modelOptions, questionOptions } from "../options.ts";

/** `headscope lens`: the logit lens, every layer's stream read out as if the model ended there. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("lens")
    .description("read the stream out before every layer, as if the model ended there (logit lens)");
  questionOptions(modelOptions(command)).option("--top <n>", "likeliest tokens of every layer", integer("--top", 0), 5);
  runs(command, async () => (await import("./lens.run.ts")).readLens);
}
