import { Command } from "commander";
import packageJson from "../../package.json" with { type: "json" };
import { type Exit, output, problems } from "../setup/terminal.mjs";
import { register as ablate } from "./commands/ablate.ts";
import { register as attribute } from "./commands/attribute.ts";
import { register as circuit } from "./commands/circuit.ts";
import { register as compare } from "./commands/compare.ts";
import { register as contexts } from "./commands/contexts.ts";
import { register as cost } from "./commands/cost.ts";
import { register as definitions } from "./commands/definitions.ts";
import { register as doctor } from "./commands/doctor.ts";
import { register as evaluate } from "./commands/evaluate.ts";
import { register as experiment } from "./commands/experiment.ts";
import { register as exportHeads } from "./commands/export.ts";
import { register as features } from "./commands/features.ts";
import { register as forward } from "./commands/forward.ts";
import { register as generate } from "./commands/generate.ts";
import { register as head } from "./commands/head.ts";
import { register as heads } from "./commands/heads.ts";
import { register as icv } from "./commands/icv.ts";
import { register as importHeads } from "./commands/import.ts";
import { register as jobs } from "./commands/jobs.ts";
import { register as lens } from "./commands/lens.ts";
import { register as levels } from "./commands/levels.ts";
import { register as linearProbe } from "./commands/linear-probe.ts";
import { register as mask } from "./commands/mask.ts";
import { register as models } from "./commands/models.ts";
import { register as needle } from "./commands/needle.ts";
import { register as pairs } from "./commands/pairs.ts";
import { register as patch } from "./commands/patch.ts";
import { register as patterns } from "./commands/patterns.ts";
import { register as policies } from "./commands/policies.ts";
import { register as probe } from "./commands/probe.ts";
import { register as probes } from "./commands/probes.ts";
import { register as trainingRuns } from "./commands/runs.ts";
import { register as serve } from "./commands/serve.ts";
import { register as start } from "./commands/start.ts";
import { register as steer } from "./commands/steer.ts";
import { register as sweep } from "./commands/sweep.ts";
import { register as tasks } from "./commands/tasks.ts";
import { register as token } from "./commands/token.ts";
import { register as train } from "./commands/train.ts";
import { register as trainGates } from "./commands/train-gates.ts";
import { type Runner, runsWith } from "./context.ts";
import { usageError } from "./errors.ts";

/** Every command, in the order of the help: one file each. */
const COMMANDS = [
  start,
  serve,
  token,
  doctor,
  models,
  tasks,
  train,
  trainingRuns,
  jobs,
  sweep,
  experiment,
  probes,
  probe,
  compare,
  heads,
  mask,
  ablate,
  pairs,
  patch,
  circuit,
  attribute,
  lens,
  head,
  contexts,
  linearProbe,
  steer,
  icv,
  features,
  trainGates,
  patterns,
  levels,
  policies,
  generate,
  cost,
  evaluate,
  needle,
  forward,
  exportHeads,
  importHeads,
  definitions,
];

const EXAMPLES = `
Examples:
  headscope probe induction --model smollm2-135m --out induction.json
  headscope ablate --model smollm2-135m --heads top:6@induction.json --method zero
  headscope mask --scores retrieval.json --top 23 --out mask.json
  headscope generate --model smollm2-135m --text "The capital of France is" --mask mask.json`;

/**
 * The whole command line: names and options only, implementations are imported when they run.
 * @param args what will be parsed: errors look at it
 * @param runner runs the implementation of the command that is named
 */
export function createProgram(args: readonly string[], runner: Runner): Command {
  const program = new Command("headscope")
    .description("Find attention heads, prove them by ablation, and take the choice to an inference engine.")
    .version(packageJson.version)
    .option("--json", "print one JSON document on standard output, everything else on standard error")
    .option("--verbose", "show where errors come from")
    .addHelpText("after", EXAMPLES)
    .enablePositionalOptions()
    .helpCommand(true)
    .showSuggestionAfterError(true);
  const runs = runsWith(runner);
  for (const register of COMMANDS) register(program, runs);
  prepare(program, args);
  return program;
}

/** Takes help and versions, whose lines commander cuts by the terminal's width, to the terminal. */
function writeTo(exit: Exit): (text: string) => void {
  return (text) => void exit.write(text);
}

/** Makes wrong calls errors of ours, thrown rather than printed; the program itself prints them. */
function prepare(command: Command, args: readonly string[]): void {
  command
    .configureOutput({ writeOut: writeTo(output), writeErr: writeTo(problems), outputError: () => {} })
    .exitOverride((error) => {
      throw usageError(error, command, args) ?? error;
    });
  for (const child of command.commands) prepare(child, args);
}
