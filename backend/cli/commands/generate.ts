import type { Command } from "commander";
import { real } from "../../common/options.ts";
import type { Stop } from "../../inference/stop-rule.ts";
import type { Runs } from "../context.ts";
import {
  inferenceOptions,
  integerParser,
  interventionsOption,
  modelOptions,
  numberParser,
  paramOption,
  policyOption,
  repeated,
  ruledParser,
  samplingOptions,
  seedOption,
  textFileOption,
  tokenOptions,
} from "../options.ts";

/** Reads a stop: digits are a token id, a JSON string is the text in it, and anything else is the text itself. */
function readStop(value: string): Stop {
  if (/^\d+$/.test(value)) return Number(value);
  if (!/^".*"$/s.test(value)) return value;
  try {
    return JSON.parse(value) as string;
  } catch {
    return value;
  }
}

const EXAMPLES = `
Examples:
  headscope generate --model smollm2-135m --text "Once upon a time"
  headscope generate --model smollm2-135m --text "The sun is" --text "The moon is" --max-tokens 8
  headscope generate --model smollm2-135m --text "A long story ..." --max-tokens 1 --save-cache story.safetensors
  headscope generate --model smollm2-135m --text-file story.txt --policy snapkv --param ratio=0.75
  headscope generate --model smollm2-135m --from-cache story.safetensors --text " Who was it about?"`;

/** `headscope generate`: continues texts, with all keys and values kept or as a head mask says. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("generate")
    .description("continue texts or rows of token ids, with a head mask or without")
    .addHelpText("after", EXAMPLES);
  modelOptions(command);
  textFileOption(tokenOptions(command, { several: true }), "the text of a file, instead of --text")
    .option("--chat", "put the text into the model's chat template, as a user's message")
    .option("--max-tokens <n>", "most new tokens", integerParser("--max-tokens", 1), 32)
    .option("--temperature <t>", "0 takes the likeliest token, more samples", numberParser("--temperature", 0), 0);
  samplingOptions(command).option(
    "--mask <file>",
    "head mask: its streaming heads keep first and recent tokens only, its ablated heads write 0",
  );
  policyOption(command)
    .option(
      "--stop <text|id>",
      "a text or token id that ends it, beside the model's own; may be repeated. A text of digits is written '\"42\"'",
      repeated(readStop),
    )
    .option("--ablate <heads>", "heads whose output is 0 at every position: 18.6,17.3 or top:8@scores.json#metric");
  interventionsOption(
    command,
    "what to change in every step; positions are those of the sequence: the prompt, then the new tokens",
  );
  inferenceOptions(command)
    .option("--save-cache <file>", "keep the prompt's keys and values (safetensors), for --from-cache")
    .option("--from-cache <file>", "put the prompt behind what a file holds, of which nothing is computed again");
  command
    .option(
      "--without <text>",
      "the text without its context, whose logits are taken from the text's; once for all texts, or once for each",
      repeated((text) => text),
    )
    .option("--alpha <a>", "weight of the difference, default 0.5", ruledParser("--alpha", real(0)))
    .option("--draft-mask <file>", "draft tokens under this head mask, and verify them with all keys and values")
    .option("--draft-tokens <n>", "drafted at a time, default 4, at most 16", integerParser("--draft-tokens", 1));
  seedOption(command);
  paramOption(
    command,
    "a policy's parameter, NAME.k=v where there are several policies; of a mask prefill=masked (default) or prefill=dense: " +
      "whether it holds during the prompt. May be repeated",
  ).option("--with-logits", "print the first eight logits of the first new token");
  runs(command, async () => (await import("./generate.run.ts")).continueText);
}
