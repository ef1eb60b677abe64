import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { paramOption, seedOption, studiedModelOptions, tokenOptions } from "../options.ts";

/** `headscope probe NAME`: scores every head of a model. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("probe <name>")
    .description("score every head of a model (headscope probes list names the probes)");
  studiedModelOptions(command);
  tokenOptions(command, { instead: "the probe's own rows" })
    .option(
      "--pattern-file <file>",
      "JSON array of pairs [query, key], for the probe pattern: what its parameter pairs says",
    )
    .option(
      "--cases-file <file>",
      "JSON array of cases: needles in haystacks for retrieval, prompts with demonstrations for function-vector",
    )
    .option("--all-steps", "of a run: score every saved step, for the heads' history")
    .option("--out <file>", "where to write the head scores");
  seedOption(paramOption(command, "a parameter of the probe; may be repeated"));
  runs(command, async () => (await import("./probe.run.ts")).scoreHeads);
}
