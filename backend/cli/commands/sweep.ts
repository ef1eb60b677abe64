import type { Command } from "commander";
import type { Runs } from "../context.ts";
import { paramOption, repeated, wholeNumbers } from "../options.ts";

const HELP = `
Over one or two parameters, which gives a phase diagram:

  headscope sweep gaussian-classification --over K=64,128,256 --over B=1,2,4 \\
    --param steps=2000 --seeds 0,1 --metric in-context.accuracy --figure phase.svg

A sweep file, in YAML or JSON:

  task: induction
  params: { steps: 1000 }          # the same at every point
  grid:                            # every combination is a point
    n_heads: [2, 4]
    learning_rate: [0.001, 0.003]
  seeds: [0, 1]                    # each point is trained with each seed
  probes: [induction]              # measured along with the evaluations

or, in place of grid, points at random:

  random:
    count: 10
    seed: 0
    learning_rate: { logUniform: [0.0003, 0.03] }
    d_model: { choices: [32, 64] }
    n_layers: { integers: [1, 3] }
    weight_decay: { uniform: [0, 0.1] }

A sweep that was stopped goes on when it is run again; what is trained is not trained twice.`;

/** `headscope sweep TASK --over ...` and `headscope sweep FILE`: trains a task at many points. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("sweep <task-or-file>")
    .description("train a task over one or two parameters, a grid, or at random points, and several seeds")
    .option(
      "--over <name=values>",
      "a parameter to vary with its values, with commas between; twice for a diagram over two",
      repeated((text) => text),
    )
    .option(
      "--seeds <list>",
      "with --over: seeds of every point, trained together, default 0",
      wholeNumbers("--seeds", 0),
    )
    .option("--probes <list>", "with --over: probes that are measured along, or none")
    .option("--metric <name>", "metric of the diagram (default: the task's first accuracy or loss)")
    .option("--figure <file>", "picture of the diagram to write, .svg or .png")
    .option("--out <file>", "CSV file to write, a line a run")
    .addHelpText("after", HELP);
  paramOption(command, "with --over: a parameter that is the same at every point; may be repeated");
  runs(command, async () => (await import("./sweep.run.ts")).trainSweep);
}
