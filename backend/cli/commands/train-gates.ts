import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { modelOptions, paramOption, seedOption } from "../options.ts";

/** `headscope train-gates`: trains the numbers that a policy needs while the model stays as it is. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("train-gates")
    .description("train the gates of a policy on a frozen model; of duo-attention they are scores of KV heads");
  modelOptions(command)
    .option("--for <policy>", "the policy whose gates these are", "duo-attention")
    .requiredOption("--out <file>", "where to write them: head scores of duo-attention, else a safetensors file")
    .option("--resume", "go on with a training that was stopped; it was kept beside --out");
  seedOption(paramOption(command, "a parameter of the training (docs/gates.md); may be repeated"));
  runs(command, async () => (await import("./train-gates.run.ts")).trainPolicyGates);
}
