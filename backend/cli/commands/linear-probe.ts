import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import { CLASSIFIERS, PROBED_POINTS } from "../../common/words.ts";
import type { Runs } from "../context.ts";
import { integerParser, numberParser, numbers, seedOption, studiedModelOptions, wordParser } from "../options.ts";

function readPosition(text: string): number | "mean" {
  if (text === "mean" || text === "last") return text === "mean" ? "mean" : -1;
  if (/^-?\d+$/.test(text)) return Number(text);
  throw new HeadscopeError("usage", `--position cannot be "${text}"`, { remedy: "give last, mean, or a position" });
}

/** `headscope linear-probe`: what can be read from the stream, layer by layer. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("linear-probe")
    .description(
      "fit a linear classifier to activations of labelled prompts, layer by layer, beside one of shuffled labels",
    );
  studiedModelOptions(command)
    .requiredOption("--examples-file <file>", 'JSON array of {"text" or "tokens", "label"}')
    .option("--layers <layers>", "layers to read, with commas between (default all)", numbers("--layers", 0))
    .option(
      "--at <point>",
      `point of a layer: ${PROBED_POINTS.join(", ")}`,
      wordParser("--at", PROBED_POINTS),
      "hook_resid_post",
    )
    .option(
      "--position <which>",
      "position that is read: last, mean (over all), or one such as 3 or -2",
      readPosition,
      -1,
    )
    .option("--method <method>", CLASSIFIERS.join(", "), wordParser("--method", CLASSIFIERS), CLASSIFIERS[0])
    .option(
      "--l2 <x>",
      "factor of the penalty on the weights, of standardised activations",
      numberParser("--l2", 1e-9),
      1,
    )
    .option("--test <share>", "share of each label that is held out", numberParser("--test", 0), 0.3)
    .option("--controls <n>", "fits with shuffled labels; 0 leaves them out", integerParser("--controls", 0), 5);
  seedOption(command);
  runs(command, async () => (await import("./linear-probe.run.ts")).probeStreams);
}
