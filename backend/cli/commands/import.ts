import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { paramOption } from "../options.ts";

/** `headscope import FORMAT PATH`: a foreign file becomes head scores or sparse patterns. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("import <format> <path>")
    .description(
      "read another project's head file: duo-attention, retrieval-head and headkv as head scores, minference as sparse patterns",
    )
    .requiredOption("--model <ref>", "the model that the file is about")
    .requiredOption("--out <file>", "where to write the head scores or patterns");
  paramOption(command);
  runs(command, async () => (await import("./import.run.ts")).importForeign);
}
