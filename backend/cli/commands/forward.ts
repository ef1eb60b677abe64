import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { interventionsOption, modelOptions, tokenOptions } from "../options.ts";

/** `headscope forward`: activations and logits to a safetensors file. */
export function register(program: Command, runs: Runs): void {
  const command = program.command("forward").description("run the model and write activations to a safetensors file");
  modelOptions(command);
  tokenOptions(command)
    .requiredOption(
      "--names <names>",
      "hook names and logits, with commas between; * stands for any text without a dot",
    )
    .requiredOption(
      "--out <file>",
      "safetensors file to write; rows of different lengths are filled up with zeros, headscope.lengths says where they end",
    );
  interventionsOption(command, "what to change in the run");
  runs(command, async () => (await import("./forward.run.ts")).writeActivations);
}
