import type { Command } from "commander";
import { WEIGHT_TYPES } from "../../common/words.ts";
import type { Runs } from "../context.ts";
import { paramOption, wordParser } from "../options.ts";

/** `headscope export FORMAT`: head scores, a mask or sparse patterns in another project's format. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("export <format>")
    .description(
      "write scores or a mask as duo-attention, retrieval-head, safetensors, csv, hf-prune or pruned-checkpoint, and sparse patterns as minference or qwen-1m",
    )
    .option("--scores <file>", "head scores to export")
    .option("--mask <file>", "head mask to export")
    .option("--patterns <file>", "sparse patterns to export")
    .option("--heads <heads>", "query heads to ablate instead of a mask (18.6,17.3 or top:8@scores.json#metric)")
    .option("--model <ref>", "the model: needed with --heads and by pruned-checkpoint")
    .option("--weights <type>", "f32, bf16 or q8", wordParser("--weights", WEIGHT_TYPES))
    .requiredOption("--out <path>", "file or folder to write")
    .option("--force", "replace a folder that an earlier export wrote");
  paramOption(command, "a parameter of the format; may be repeated");
  runs(command, async () => (await import("./export.run.ts")).exportDocument);
}
