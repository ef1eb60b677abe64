import { type Command, Option } from "commander";
import { CACHE_KINDS, WEIGHT_TYPES } from "../../common/words.ts";
import type { Runs } from "../context.ts";
import { integerParser, paramOption, wholeNumbers, wordParser } from "../options.ts";

/** `headscope cost`: memory and time of requests, predicted. */
export function register(program: Command, runs: Runs): void {
  const list = (text: string) => text.split(",").map((name) => name.trim());
  const command = program
    .command("cost")
    .description("predict memory and time of a prompt and its continuation under policies on devices; nothing is run")
    .requiredOption("--model <ref>", "the model, of which no weights are read")
    .requiredOption("--tokens <n>", "tokens of the prompt; several with commas between", wholeNumbers("--tokens", 1))
    .option("--new-tokens <n>", "new tokens behind it, default 128", integerParser("--new-tokens", 1))
    .option("--policy <names>", "policies to compare with commas between; those that run together as a+b", list)
    .option("--device <names>", "devices of docs/cost.md, with commas between; here is this machine, measured", list, [
      "here",
    ]);
  command
    .addOption(
      new Option("--weights <type>", "f32, bf16 or q8; default f32 here, bf16 elsewhere").argParser(
        wordParser("--weights", WEIGHT_TYPES),
      ),
    )
    .addOption(
      new Option("--cache <kind>", "f32, f16, q8 or q4 for keys and values; default f32 here, f16 elsewhere").argParser(
        wordParser("--cache", CACHE_KINDS),
      ),
    );
  paramOption(command, "a policy's parameter, NAME.k=v where there are several policies; may be repeated");
  runs(command, async () => (await import("./cost.run.ts")).predictCost);
}
