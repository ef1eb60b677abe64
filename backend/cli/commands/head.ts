import type { Command } from "commander";
import { COMPOSITION_SCOPES } from "../../common/words.ts";
import type { Runs } from "../context.ts";
import { integerParser, modelOptions, wordParser } from "../options.ts";

/** `headscope head`: heads by their weights alone. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("head")
    .description("look at heads in the weights: OV and QK, copying, composition, token pairs, positions");
  modelOptions(command)
    .requiredOption("--heads <heads>", "heads to look at: 18.6,17.3 or top:8@scores.json#metric")
    .option(
      "--token-pairs <n>",
      "largest entries of each head's full OV circuit (source, target), with the ranks of its diagonal",
      integerParser("--token-pairs", 0),
      0,
    )
    .option(
      "--distances <n>",
      "distances, from 0 on, at which to give each head's kernel of positions",
      integerParser("--distances", 0),
      0,
    )
    .option(
      "--composition <scope>",
      `pairs whose composition to give, of the heads named or of all heads of the model: ${COMPOSITION_SCOPES.join(", ")}`,
      wordParser("--composition", COMPOSITION_SCOPES),
      COMPOSITION_SCOPES[0],
    );
  runs(command, async () => (await import("./head.run.ts")).lookAtHeads);
}
