import type { Command } from "commander";
import type { Stop } from "../../inference/stop-rule.ts";
import type { Runs } from "../context.ts";
import {
  integerParser,
  interventionsOption,
  modelOptions,
  numberParser,
  paramOption,
  seedOption,
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

/** `headscope generate`: continues a text, with all keys and values kept or as a head mask says. */
export function register(program: Command, runs: Runs): void {
  const command = program.command("generate").description("continue a text or token ids, with a head mask or without");
  modelOptions(command);
  tokenOptions(command)
    .option("--chat", "put the text into the model's chat template, as a user's message")
    .option("--max-tokens <n>", "most new tokens", integerParser("--max-tokens", 1), 32)
    .option("--temperature <t>", "0 takes the likeliest token, more samples", numberParser("--temperature", 0), 0)
    .option(
      "--mask <file>",
      "head mask: its streaming heads keep first and recent tokens only, its ablated heads write 0",
    )
    .option(
      "--stop <text|id>",
      "a text or token id that ends it, beside the model's own; may be repeated. A text of digits is written '\"42\"'",
      (value: string, before: Stop[] = []) => [...before, readStop(value)],
    )
    .option("--ablate <heads>", "heads whose output is 0 at every position: 18.6,17.3 or top:8@scores.json#metric");
  interventionsOption(
    command,
    "what to change in every step; positions are those of the sequence: the prompt, then the new tokens",
  );
  seedOption(command);
  paramOption(command, "prefill=masked (default) or prefill=dense: whether the mask holds during the prompt").option(
    "--with-logits",
    "print the first eight logits of the first new token",
  );
  runs(command, async () => (await import("./generate.run.ts")).continueText);
}
