import type { Command } from "commander";
import { runs } from "../context.ts";
import { type ModelOptions, modelOptions, oneOf } from "../options.ts";

const NODES = ["z", "q", "k", "v", "pattern", "resid_pre", "resid_mid", "attn_out", "mlp_out"] as const;
const PLACES = ["head", "position", "layer"] as const;
const METRICS = ["logit-diff"] as const;

interface PatchCommandOptions extends ModelOptions {
  pairFile: string;
  node: (typeof NODES)[number];
  by: (typeof PLACES)[number];
  metric: (typeof METRICS)[number];
  prependBos?: boolean;
}

/** `headscope patch`: the clean prompt's activations in the corrupt run, one place at a time. */
export function register(program: Command): void {
  const command = program
    .command("patch")
    .description("run the corrupt prompt with the clean prompt's activation at one place at a time");
  modelOptions(command)
    .requiredOption(
      "--pair-file <file>",
      'JSON {"clean", "corrupt", "answer", "wrong"} or an array of such; ids or texts',
    )
    .requiredOption("--node <node>", `activation to patch: ${NODES.join(", ")}`, oneOf("--node", NODES))
    .requiredOption("--by <place>", `one place at a time: ${PLACES.join(", ")}`, oneOf("--by", PLACES))
    .option("--metric <metric>", METRICS.join(", "), oneOf("--metric", METRICS), METRICS[0])
    .option("--prepend-bos", "put the BOS token before texts (default: as the tokenizer does)")
    .option("--no-prepend-bos", "put no BOS token before texts");
  runs<PatchCommandOptions>(command, async (context, options) => {
    const [{ withModel }, { readPairFile }, { patch }, { patchText }] = await Promise.all([
      import("../model.ts"),
      import("../case-files.ts"),
      import("../../circuits/patch.ts"),
      import("../patch-text.ts"),
    ]);
    await withModel(context, options, async (model) => {
      const pairs = await readPairFile(options.pairFile, model, options.prependBos);
      const { node, by, metric } = options;
      const result = await patch(model, {
        pairs,
        node,
        by,
        metric,
        signal: context.signal,
        progress: context.progress,
      });
      await context.print(result, () => patchText(result, { node, by, metric, model, pair: pairs[0]! }));
    });
  });
}
