import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { interventionsOption, numberParser, paramOption, seedOption, weightsOption } from "../options.ts";

const EXAMPLES = `
Examples:
  headscope heads compare retrieval.json gates.json patterns.json circuit.json
  headscope heads compare gates.json --model smollm2-135m --measure retrieval,on-the-fly,needle-ablation`;

/** `headscope heads compare`: ways of finding heads beside each other. */
export function register(program: Command, runs: Runs): void {
  const heads = program.command("heads").description("compare ways of finding heads");
  const command = heads
    .command("compare [files...]")
    .description(
      "rank correlation and common best KV heads of several scores of one model, and what each costs to find: score files (FILE#metric), sparse patterns, circuits",
    )
    .addHelpText("after", EXAMPLES)
    .option("--model <ref>", "the model to measure scores in, beside those of the files")
    .option(
      "--measure <names>",
      "with --model: probes, or duo-attention, whose gates are trained; default retrieval,on-the-fly,long-range,needle-attribution",
      (text: string) => text.split(",").map((name) => name.trim()),
    )
    .option(
      "--share <share>",
      "share of the KV heads that count as the best (default: 0.25)",
      numberParser("--share", 0),
    )
    .option("--keep <folder>", "where to write the scores that are measured, NAME.json each")
    .option("--out <file>", "where to write the comparison");
  interventionsOption(command, "what to change in every run of what is measured: the changed model is studied");
  seedOption(weightsOption(paramOption(command, "a parameter of what is measured, NAME.k=v; may be repeated")));
  runs(command, async () => (await import("./heads.run.ts")).compareFinders);
}
