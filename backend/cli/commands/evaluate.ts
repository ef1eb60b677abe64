import type { Command } from "commander";
import { EVALUATION_MODES } from "../../common/words.ts";
import type { Runs } from "../context.ts";
import {
  cacheOption,
  integerParser,
  numbers,
  paramOption,
  seedOption,
  studiedModelOptions,
  wholeNumbers,
  wordParser,
} from "../options.ts";

const EXAMPLES = `
Examples:
  headscope evaluate --model smollm2-135m --policy snapkv,tova,h2o --budget 0.25,0.5 --tasks multi-key --lengths 512,2048 --out snap
  headscope evaluate --model smollm2-135m --policy duo-attention+snapkv --param duo-attention.mask=mask.json --tasks multi-key --lengths 512 --out both
  headscope evaluate --model smollm2-135m --policy snapkv --mode requests --tasks multi-key --lengths 1024 --out requests

An evaluation that was stopped goes on when it is run again.`;

/** Reads names with commas between. */
function names(text: string): string[] {
  return text.split(",").map((name) => name.trim());
}

/** `headscope evaluate`: policies at budgets on tasks, judged against full attention. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("evaluate")
    .description("judge policies at budgets on tasks of several lengths, beside full attention and random tokens")
    .addHelpText("after", EXAMPLES);
  cacheOption(studiedModelOptions(command))
    .requiredOption(
      "--policy <names>",
      'policies, with commas between; "a+b" act together (`headscope policies list`)',
      names,
    )
    .option(
      "--budget <list>",
      "how much stays: shares below 1, or tokens of each KV head, with commas between",
      numbers("--budget", 0),
      [0.25, 0.5],
    )
    .requiredOption("--tasks <names>", "tasks over long contexts, with commas between", names)
    .requiredOption("--lengths <list>", "tokens of the prompts, with commas between", wholeNumbers("--lengths", 1))
    .option("--cases <n>", "cases of each task and length", integerParser("--cases", 1), 10)
    .option(
      "--mode <mode>",
      "single: one question a case; turns: several on one cache; requests: several on the context as cut for the first",
      wordParser("--mode", EVALUATION_MODES),
      "single",
    )
    .requiredOption("--out <dir>", "folder of the results: JSON, CSV and an HTML report");
  paramOption(seedOption(command), "a parameter of a policy or task, as NAME.k=v; may be repeated");
  runs(command, async () => (await import("./evaluate.run.ts")).evaluatePolicies);
}
