import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { integerParser, modelOptions, numbers, questionOptions } from "../options.ts";

/** `headscope attribute`: direct logit attribution, the parts of the stream that speak for an answer. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("attribute")
    .description("say what the embedding, every head and every MLP adds to logit(answer) - logit(wrong)");
  questionOptions(modelOptions(command))
    .option("--neurons <layers>", "layers whose MLP is taken apart into neurons", numbers("--neurons", 0))
    .option("--top <n>", "parts and neurons shown; --json has them all", integerParser("--top", 1), 12);
  runs(command, async () => (await import("./attribute.run.ts")).attributePrompts);
}
