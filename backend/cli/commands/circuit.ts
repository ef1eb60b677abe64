import { Argument, type Command } from "commander";
import { DEFAULT_RECENT, DEFAULT_SINK } from "../../common/heads/window.ts";
import { METRICS } from "../../common/metrics.ts";
import {
  CIRCUIT_EXPORTS,
  CIRCUIT_LEVELS,
  CIRCUIT_METHODS,
  KEPT_EDGES,
  KEPT_NODES,
  MANY_EDGES,
  OUTSIDE_CIRCUIT,
} from "../../common/words.ts";
import type { Runs } from "../context.ts";
import {
  integerParser,
  numberParser,
  PAIR_FILE,
  paramOption,
  seedOption,
  studiedModelOptions,
  wholeNumbers,
  wordParser,
} from "../options.ts";

/** `headscope circuit find | run | prune | evaluate | roles | compare | export`: the edges between heads and MLPs that answer a question. */
export function register(program: Command, runs: Runs): void {
  const circuit = program.command("circuit").description("find the edges that answer a question, and run them alone");

  const find = pairOptions(
    circuit.command("find").description("score every edge by what corrupting it does to the answer"),
  )
    .requiredOption("--method <method>", CIRCUIT_METHODS.join(", "), wordParser("--method", CIRCUIT_METHODS))
    .option(
      "--edges <n>",
      `edges to keep, those with the largest scores, or all (default: all up to ${MANY_EDGES}, ${KEPT_EDGES} beyond)`,
      edgeCount,
    )
    .option("--edges-from <file>", "score only the edges of this circuit; acdc begins with them")
    .option(
      "--level <level>",
      "edge, or node: heads and MLPs by their whole output, with all edges between them (default: edge)",
      wordParser("--level", CIRCUIT_LEVELS),
    )
    .option(
      "--nodes <n>",
      `of the level node: heads and MLPs to keep (default: all up to ${MANY_EDGES} edges, ${KEPT_NODES} beyond)`,
      integerParser("--nodes", 1),
    )
    .option("--out <file>", "where to write the circuit");
  runs(
    paramOption(
      find,
      "a parameter of the method, such as steps=5 of eap-ig, length=1 of eap-gp or threshold=0.01 of acdc; may be repeated",
    ),
    async () => (await import("./circuit.run.ts")).findCommand,
  );

  const run = pairOptions(
    circuit
      .command("run")
      .description("run the clean prompt with the corrupt prompt's output on every edge outside a circuit"),
  )
    .requiredOption("--circuit <file>", 'what circuit find wrote, {"edges": [...]}, or {"without": [...]}')
    .option("--edges <n>", "only the first so many of its edges", integerParser("--edges", 0))
    .option("--sizes <list>", "the curve over these numbers of edges, with CPR and CMD", wholeNumbers("--sizes", 0));
  runs(run, async () => (await import("./circuit.run.ts")).runCommand);

  const prune = pairOptions(
    circuit.command("prune").description("keep the fewest edges of a circuit that are faithful enough"),
  )
    .requiredOption("--circuit <file>", "what circuit find wrote")
    .option(
      "--faithfulness <share>",
      "share of the clean prompt's advantage to keep",
      numberParser("--faithfulness", 0),
      0.9,
    )
    .option("--out <file>", "where to write the circuit");
  runs(prune, async () => (await import("./circuit-work.run.ts")).pruneCommand);

  const evaluate = pairOptions(
    circuit
      .command("evaluate")
      .description(
        "faithfulness, completeness, minimality and stability of a circuit, beside random ones, with verdicts",
      ),
  )
    .requiredOption("--circuit <file>", "what circuit find wrote")
    .option("--edges <n>", "only the first so many of its edges", integerParser("--edges", 1))
    .option("--others <files...>", "files of other pairs: held-out ones, or other templates")
    .option("--draws <n>", "random circuits of its size (default: 10)", integerParser("--draws", 1))
    .option("--resamples <n>", "resamples of the pairs (default: 200)", integerParser("--resamples", 1))
    .option("--out <folder>", "where to write evaluation.json and report.html");
  runs(seedOption(evaluate), async () => (await import("./circuit-work.run.ts")).evaluateCommand);

  const roles = pairOptions(
    circuit
      .command("roles")
      .description("suggest the roles of heads, such as name mover or induction, with the numbers behind them"),
  )
    .option("--circuit <file>", "only the heads that this circuit's edges touch (default: all heads)")
    .option("--edges <n>", "only the first so many of its edges", integerParser("--edges", 1));
  runs(roles, async () => (await import("./circuit-roles.run.ts")).rolesCommand);

  const compare = circuit
    .command("compare <first> <second>")
    .description("edges and nodes that two circuit files share, and whether they rank them alike")
    .option("--edges <n>", "only the first so many edges of each", integerParser("--edges", 1));
  runs(compare, async () => (await import("./circuit-work.run.ts")).compareCommand);

  const exported = circuit
    .command("export")
    .description(`write a circuit in another format: ${CIRCUIT_EXPORTS.join(", ")}`)
    .addArgument(
      new Argument("<format>", CIRCUIT_EXPORTS.join(", ")).argParser(wordParser("the format", CIRCUIT_EXPORTS)),
    )
    .requiredOption("--circuit <file>", "what circuit find wrote")
    .option("--edges <n>", "only the first so many of its edges", integerParser("--edges", 1))
    .option(
      "--model <ref>",
      "of neuronpedia: the model, which the prompt is run in; of pruned-checkpoint: the one that is written (default: that of the circuit)",
    )
    .option("--pair-file <file>", "of neuronpedia: the pairs, over whose first clean prompt the graph is shown")
    .option(
      "--outside <what>",
      "of mask: what heads outside the circuit do: ablate (default), or stream: KV heads keep first and recent tokens",
      wordParser("--outside", OUTSIDE_CIRCUIT),
    )
    .option("--sink <n>", `of a streaming mask: first tokens (default: ${DEFAULT_SINK})`, integerParser("--sink", 0))
    .option(
      "--recent <n>",
      `of a streaming mask: latest tokens (default: ${DEFAULT_RECENT})`,
      integerParser("--recent", 1),
    )
    .option("--force", "of pruned-checkpoint: replace a folder that an earlier export wrote")
    .requiredOption(
      "--out <path>",
      "file to write, of pruned-checkpoint a folder: the model without the heads outside",
    );
  runs(exported, async () => (await import("./circuit-work.run.ts")).exportCommand);
}

function pairOptions(command: Command): Command {
  return studiedModelOptions(command)
    .requiredOption("--pair-file <file>", PAIR_FILE)
    .option(
      "--metric <metric>",
      `${METRICS.join(", ")} (default: that of the circuit file, else ${METRICS[0]})`,
      wordParser("--metric", METRICS),
    )
    .option("--prepend-bos", "put the BOS token before texts (default: as the tokenizer does)")
    .option("--no-prepend-bos", "put no BOS token before texts");
}

function edgeCount(text: string): number | "all" {
  return text === "all" ? "all" : integerParser("--edges", 1)(text);
}
