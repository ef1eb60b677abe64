import type { Command } from "commander";
import { METRICS } from "../../common/metrics.ts";
import {
  PATCH_DIRECTIONS,
  PATCH_GRIDS,
  PATCH_GROUPS,
  PATCH_METHODS,
  PATCH_NODES,
  PATCH_PLACES,
  PATH_ENDS,
  PATH_MLPS,
} from "../../common/patching.ts";
import type { Runs } from "../context.ts";
import { integerParser, interventionsOption, modelOptions, PAIR_FILE, wordParser } from "../options.ts";

const PLACES = [...PATCH_PLACES, ...PATCH_GRIDS, ...PATCH_GROUPS];

const EXAMPLES = `
Examples:
  headscope patch --model smollm2-135m --pair-file pair.json --node z --by head --method attribution
  headscope patch --model smollm2-135m --pair-file pair.json --node z --places 18.6@-1,mlp_out:20
  headscope patch --model smollm2-135m --pair-file pair.json --into 18.6,20.2 --through q --from heads,mlps --direction noise
  headscope patch --model smollm2-135m --pair-file pair.json --into logits --direction noise`;

/** `headscope patch`: one prompt's activations in the other's run, one place at a time. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("patch")
    .description(
      "run the corrupt prompt with the clean prompt's activation at one place at a time, or the other way round",
    )
    .addHelpText("after", EXAMPLES);
  modelOptions(command)
    .requiredOption("--pair-file <file>", PAIR_FILE)
    .option("--node <node>", `activation to patch: ${PATCH_NODES.join(", ")}`, wordParser("--node", PATCH_NODES))
    .option("--by <place>", `one place at a time: ${PLACES.join(", ")}`, wordParser("--by", PLACES))
    .option(
      "--group <n>",
      "with --by neurons: how many together (default: a 32nd of an MLP's)",
      integerParser("--group", 1),
    )
    .option(
      "--places <list>",
      "instead of --by, places to patch all at once: LAYER.HEAD or LAYER, @POSITION behind, NODE: in front as needed",
    )
    .option(
      "--method <method>",
      "exact: a run for every place; attribution: all places estimated from one gradient",
      wordParser("--method", PATCH_METHODS),
      PATCH_METHODS[0],
    )
    .option(
      "--direction <direction>",
      "denoise: clean activations in the corrupt run; noise: corrupt ones in the clean run",
      wordParser("--direction", PATCH_DIRECTIONS),
      PATCH_DIRECTIONS[0],
    )
    .option("--metric <metric>", METRICS.join(", "), wordParser("--metric", METRICS), METRICS[0])
    .option(
      "--into <receivers>",
      "path patching: earlier parts' outputs, one at a time, only in what these read: heads, MLPs (m5), logits",
    )
    .option(
      "--through <input>",
      `with --into, the heads' input: ${PATH_ENDS.join(", ")}`,
      wordParser("--through", PATH_ENDS),
    )
    .option(
      "--from <senders>",
      "with --into, these senders alone: heads, MLPs (m5), embed; or heads, mlps for all of a kind",
    )
    .option(
      "--kv-group",
      "with --through k or v, all query heads that read a receiver's KV head receive (default: those named)",
    )
    .option(
      "--mlps <way>",
      "with --into, frozen: only the edge from sender to receivers (default); recomputed: the MLPs between are computed again, as Wang et al. 2023 do",
      wordParser("--mlps", PATH_MLPS),
    )
    .option("--prepend-bos", "put the BOS token before texts (default: as the tokenizer does)")
    .option("--no-prepend-bos", "put no BOS token before texts");
  interventionsOption(command, "what to change in all runs");
  runs(command, async () => (await import("./patch.run.ts")).patchPrompts);
}
