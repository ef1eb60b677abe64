import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import { CLASSIFIERS, PROBED_POINTS } from "../../common/words.ts";
import type { Runs } from "../context.ts";
import { integerParser, numberParser, numbers, seedOption, studiedModelOptions, wordParser } from "../options.ts";

function readPosition(text: string): number | "mean" | "scored" {
  if (text === "mean" || text === "scored") return text;
  if (text === "last") return -1;
  if (/^-?\d+$/.test(text)) return Number(text);
  throw new HeadscopeError("usage", `--position cannot be "${text}"`, {
    remedy: "give scored, last, mean, or a position",
  });
}

/** `headscope linear-probe`: reads labels, or what a task defines, from the stream, layer by layer. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("linear-probe")
    .description(
      "fit a linear probe to activations, layer by layer, beside one of shuffled targets: to the labels of prompts, or to what a run's task defines",
    );
  studiedModelOptions(command)
    .option("--examples-file <file>", 'JSON array of {"text" or "tokens", "label"}')
    .option(
      "--target <name>",
      "of a run: what to read in fresh sequences of its task, label or one of its own (moment)",
    )
    .option("--rows <n>", "with --target: sequences, default 1,024", integerParser("--rows", 4))
    .option("--all-steps", "of a run: read every saved step")
    .option("--steps <steps>", "of a run: saved steps to read, with commas between", numbers("--steps", 0))
    .option("--layers <layers>", "layers to read, with commas between (default all)", numbers("--layers", 0))
    .option(
      "--at <point>",
      `point of a layer: ${PROBED_POINTS.join(", ")}`,
      wordParser("--at", PROBED_POINTS),
      "hook_resid_post",
    )
    .option(
      "--position <which>",
      "position that is read: last, mean (over all), or one such as 3 or -2; with --target scored, the last whose prediction counts (default scored with --target, else last)",
      readPosition,
    )
    .option("--method <method>", CLASSIFIERS.join(", "), wordParser("--method", CLASSIFIERS), CLASSIFIERS[0])
    .option(
      "--l2 <x>",
      "factor of the penalty on the weights, of standardised activations",
      numberParser("--l2", 1e-9),
      1,
    )
    .option(
      "--test <share>",
      "share of the prompts of each label, or of the sequences, that is held out",
      numberParser("--test", 0),
      0.3,
    )
    .option("--controls <n>", "fits with shuffled targets; 0 leaves them out", integerParser("--controls", 0), 5);
  seedOption(command);
  runs(command, async () => (await import("./linear-probe.run.ts")).probeStreams);
}
