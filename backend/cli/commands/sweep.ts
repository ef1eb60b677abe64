import type { Command } from "commander";
import type { Runs } from "../context.ts";

const HELP = `
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

/** `headscope sweep FILE`: trains a task at many points. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("sweep <file>")
    .description("train a task over a grid of parameters, or at random points, and several seeds")
    .option("--out <file>", "CSV file to write, a line a run")
    .addHelpText("after", HELP);
  runs(command, async () => (await import("./sweep.run.ts")).trainSweep);
}
