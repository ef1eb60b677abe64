import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import { type Context, runs } from "../context.ts";
import { type ModelOptions, modelOptions, oneOf } from "../options.ts";

const NODES = ["z", "q", "k", "v", "pattern", "resid_pre", "resid_mid", "attn_out", "mlp_out"] as const;
const PLACES = ["head", "position", "layer"] as const;
const ENDS = ["q", "k", "v"] as const;
const FORMS = ["direct", "mlps"] as const;
const METRICS = ["logit-diff"] as const;

interface PatchCommandOptions extends ModelOptions {
  pairFile: string;
  node?: (typeof NODES)[number];
  by?: (typeof PLACES)[number];
  metric: (typeof METRICS)[number];
  into?: string;
  through?: (typeof ENDS)[number];
  form?: (typeof FORMS)[number];
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
    .option("--node <node>", `activation to patch: ${NODES.join(", ")}`, oneOf("--node", NODES))
    .option("--by <place>", `one place at a time: ${PLACES.join(", ")}`, oneOf("--by", PLACES))
    .option(
      "--into <heads>",
      "path patching: earlier heads' outputs, one head at a time, only in what these heads of one layer read",
    )
    .option(
      "--through <input>",
      `with --into, what is computed from it: ${ENDS.join(", ")}; k and v are of KV heads, so all heads that read the same one move`,
      oneOf("--through", ENDS),
    )
    .option(
      "--form <form>",
      "with --into, direct: only the edge from sender to receivers (default); mlps: the MLPs between are computed again, as Wang et al. 2023 do",
      oneOf("--form", FORMS),
    )
    .option("--metric <metric>", METRICS.join(", "), oneOf("--metric", METRICS), METRICS[0])
    .option("--prepend-bos", "put the BOS token before texts (default: as the tokenizer does)")
    .option("--no-prepend-bos", "put no BOS token before texts");
  runs<PatchCommandOptions>(command, async (context, options) => {
    const [{ withModel }, { readPairFile }, { patch }, { patchText }] = await Promise.all([
      import("../model.ts"),
      import("../case-files.ts"),
      import("../../circuits/patch.ts"),
      import("../text/patch.ts"),
    ]);
    const { into, through, form } = options;
    if (into !== undefined || through !== undefined || form !== undefined) return patchPathsCommand(context, options);
    if (options.node === undefined || options.by === undefined)
      throw new HeadscopeError("usage", `--${options.node === undefined ? "node" : "by"} is missing`, {
        remedy: "give --node and --by, or --into and --through",
      });
    const { node, by } = options;
    await withModel(context, options, async (model) => {
      const pairs = await readPairFile(options.pairFile, model, options.prependBos);
      const { metric } = options;
      const result = await patch(model, {
        pairs,
        node,
        by,
        metric,
        signal: context.signal,
        progress: context.progress,
      });
      await context.print(result, () =>
        patchText(result, { node, by, kv: node === "k" || node === "v", metric, model, pair: pairs[0]! }),
      );
    });
  });
}

/** Path patching: the table of senders. */
async function patchPathsCommand(context: Context, options: PatchCommandOptions): Promise<void> {
  const { into, through, form = "direct", node, by } = options;
  if (into === undefined || through === undefined || (node ?? "z") !== "z" || (by ?? "head") !== "head")
    throw new HeadscopeError("usage", "path patching needs --into and --through, and goes by head over z", {
      remedy: "give both, and leave --node and --by out",
    });
  const [{ withModel }, { readPairFile }, { patchPaths }, { patchText }, { parseHeads }, { headModel }] =
    await Promise.all([
      import("../model.ts"),
      import("../case-files.ts"),
      import("../../circuits/path.ts"),
      import("../text/patch.ts"),
      import("../../heads/refs.ts"),
      import("../../heads/model.ts"),
    ]);
  await withModel(context, options, async (model) => {
    const heads = await parseHeads(into, headModel(model));
    const pairs = await readPairFile(options.pairFile, model, options.prependBos);
    const { signal, progress } = context;
    const result = await patchPaths(model, { pairs, into: heads, through, form, signal, progress });
    const edge = form === "direct" ? "direct edge" : "MLPs computed again";
    const what = `z into ${result.receivers.join(", ")} through ${through} (${edge})`;
    await context.print(result, () =>
      patchText(result, { node: what, by: "head", metric: options.metric, model, pair: pairs[0]! }),
    );
  });
}
