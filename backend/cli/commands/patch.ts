import type { Command } from "commander";
import { PATCH_METRICS, PATCH_NODES, PATCH_PLACES, PATH_ENDS, PATH_FORMS } from "../../common/patching.ts";
import type { Runs } from "../context.ts";
import { modelOptions, oneOf } from "../options.ts";

/** `headscope patch`: the clean prompt's activations in the corrupt run, one place at a time. */
export function register(program: Command, runs: Runs): void {
  const command = program
    .command("patch")
    .description("run the corrupt prompt with the clean prompt's activation at one place at a time");
  modelOptions(command)
    .requiredOption(
      "--pair-file <file>",
      'JSON {"clean", "corrupt", "answer", "wrong"} or an array of such; ids or texts',
    )
    .option("--node <node>", `activation to patch: ${PATCH_NODES.join(", ")}`, oneOf("--node", PATCH_NODES))
    .option("--by <place>", `one place at a time: ${PATCH_PLACES.join(", ")}`, oneOf("--by", PATCH_PLACES))
    .option(
      "--into <heads>",
      "path patching: earlier heads' outputs, one head at a time, only in what these heads of one layer read",
    )
    .option(
      "--through <input>",
      `with --into, what is computed from it: ${PATH_ENDS.join(", ")}; k and v are of KV heads, so all heads that read the same one move`,
      oneOf("--through", PATH_ENDS),
    )
    .option(
      "--form <form>",
      "with --into, direct: only the edge from sender to receivers (default); mlps: the MLPs between are computed again, as Wang et al. 2023 do",
      oneOf("--form", PATH_FORMS),
    )
    .option("--metric <metric>", PATCH_METRICS.join(", "), oneOf("--metric", PATCH_METRICS), PATCH_METRICS[0])
    .option("--prepend-bos", "put the BOS token before texts (default: as the tokenizer does)")
    .option("--no-prepend-bos", "put no BOS token before texts");
  runs(command, async () => (await import("./patch.run.ts")).patchPrompts);
}
