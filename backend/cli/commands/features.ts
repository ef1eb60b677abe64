import type { Command } from "commander";
import { DICTIONARY_ARCHITECTURES } from "../../common/words.ts";
import type { Runs } from "../context.ts";
import { integerParser, numberParser, studiedModelOptions, tokenOptions, wholeNumbers } from "../options.ts";

const EXAMPLES = `
Examples:
  headscope features --model hf:openai-community/gpt2 --dictionary sae/blocks.8.hook_resid_pre --text "The capital of France is"
  headscope features --model hf:openai-community/gpt2 --dictionary sae/blocks.8.hook_resid_pre --text "The capital of France is" --ablate 7,1301`;

/** `headscope features`: prompts through a sparse dictionary. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("features")
    .description("read prompts through a sparse dictionary, and take features out")
    .addHelpText("after", EXAMPLES);
  studiedModelOptions(command).requiredOption(
    "--dictionary <folder>",
    `folder with cfg.json and sae_weights.safetensors as SAELens 6 saves them; ${DICTIONARY_ARCHITECTURES.join(", ")}`,
  );
  tokenOptions(command)
    .option("--at <hook>", "hook point, for a dictionary whose cfg.json names none")
    .option("--top <n>", "features to show of each position, and of all together", integerParser("--top", 0), 10)
    .option(
      "--ablate <ids>",
      "features to take out, with commas between: what comes next, and the loss",
      wholeNumbers("--ablate", 0),
    )
    .option("--scale <x>", "with --ablate: factor on these features instead of 0", numberParser("--scale"));
  runs(command, async () => (await import("./features.run.ts")).readPromptFeatures);
}
