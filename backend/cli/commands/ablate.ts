import type { Command } from "commander";
import { METRICS } from "../../common/metrics.ts";
import { TEXT_PARTS } from "../../common/texts/parts.ts";
import { ABLATED_PARTS, ABLATION_METHODS } from "../../common/words.ts";
import type { Runs } from "../context.ts";
import {
  integerParser,
  interventionsOption,
  modelOptions,
  PAIR_FILE,
  seedOption,
  tokenOptions,
  wordParser,
} from "../options.ts";

/** `headscope ablate`: what a set of heads does for the loss, beside as many other heads of the same layers. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("ablate")
    .description("take heads out, and as many others of the same layers as a control");
  modelOptions(command);
  tokenOptions(command)
    .option("--heads <heads>", "heads to take out: 18.6,17.3 or top:8@scores.json#metric")
    .option(
      "--method <method>",
      `what stands in for a head's output: ${ABLATION_METHODS.join(", ")}`,
      wordParser("--method", ABLATION_METHODS),
      "zero",
    )
    .option("--by-position", "mean: one mean a position instead of one over all positions")
    .option(
      "--reference-file <file>",
      "tokens file whose rows mean and resample draw from (default: the other rows; of a single one 8 rows of random tokens)",
    )
    .option(
      "--each <part>",
      `with --pair-file: take out one at a time: ${ABLATED_PARTS.join(", ")} (the last token's attention to one earlier token)`,
      wordParser("--each", ABLATED_PARTS),
    )
    .option("--pair-file <file>", `with --each: ${PAIR_FILE}`)
    .option(
      "--over <part>",
      `part of the text that the verdict is about: ${TEXT_PARTS.join(", ")} (docs/texts.md says what each is)`,
      wordParser("--over", TEXT_PARTS),
    )
    .option("--position <n>", "position of the token that --over is about, from 1 on", integerParser("--position", 1))
    .option("--wrong <id>", "with --over answer: the wrong token in its place, an id or a text of one token")
    .option("--answer <id>", "with --over answer: the token there (default: the one that stands there)")
    .option("--metric <metric>", `with --each or --over answer: ${METRICS.join(", ")}`, wordParser("--metric", METRICS))
    .option("--window <n>", "with --each source: layers that hide a token together, odd", integerParser("--window", 1))
    .option("--controls <n>", "draws of other heads; 0 leaves the control out", integerParser("--controls", 0), 5);
  interventionsOption(
    command,
    "instead of --heads: anything to change, without a control; with --each: what to change in every run",
  );
  seedOption(command);
  runs(command, async () => (await import("./ablate.run.ts")).ablateHeads);
}
