import type { Command } from "commander";
import { CIRCUIT_METHODS, KEPT_EDGES, MANY_EDGES } from "../../common/words.ts";
import type { Runs } from "../context.ts";
import { integer, modelOptions, oneOf, paramOption, wholeNumbers } from "../options.ts";

/** `headscope circuit find | run`: the edges between heads and MLPs that answer a question. */
export function register(program: Command, runs: Runs): void {
  const circuit = program.command("circuit").description("find the edges that answer a question, and run them alone");

  const find = pairOptions(
    circuit.command("find").description("score every edge by what corrupting it does to the answer"),
  )
    .requiredOption("--method <method>", CIRCUIT_METHODS.join(", "), oneOf("--method", CIRCUIT_METHODS))
    .option(
      "--edges <n>",
      `edges to keep, those with the largest scores, or all (default: all up to ${MANY_EDGES}, ${KEPT_EDGES} beyond)`,
      edgeCount,
    )
    .option("--edges-from <file>", "score only the edges of this circuit")
    .option("--out <file>", "where to write the circuit");
  runs(
    paramOption(find, "a parameter of the method, such as steps=5; may be repeated"),
    async () => (await import("./circuit.run.ts")).findCommand,
  );

  const run = pairOptions(
    circuit
      .command("run")
      .description("run the clean prompt with the corrupt prompt's output on every edge outside a circuit"),
  )
    .requiredOption("--circuit <file>", 'what circuit find wrote, {"edges": [...]}, or {"without": [...]}')
    .option("--edges <n>", "only the first so many of its edges", integer("--edges", 0))
    .option("--sizes <list>", "the curve over these numbers of edges, with CPR and CMD", wholeNumbers("--sizes", 0));
  runs(run, async () => (await import("./circuit.run.ts")).runCommand);
}

function pairOptions(command: Command): Command {
  return modelOptions(command)
    .requiredOption(
      "--pair-file <file>",
      'JSON {"clean", "corrupt", "answer", "wrong"} or an array of such; ids or texts',
    )
    .option("--prepend-bos", "put the BOS token before texts (default: as the tokenizer does)")
    .option("--no-prepend-bos", "put no BOS token before texts");
}

function edgeCount(text: string): number | "all" {
  return text === "all" ? "all" : integer("--edges", 1)(text);
}
