import { patch } from "../../circuits/patching/patch.ts";
import { patchPaths } from "../../circuits/patching/path.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { headModel } from "../../common/heads/model.ts";
import {
  PATH_FORM_WORDS,
  type PatchMetric,
  type PatchNode,
  type PatchPlace,
  type PathEnd,
  type PathForm,
} from "../../common/patching.ts";
import { parseHeads } from "../../heads/refs.ts";
import type { Context } from "../context.ts";
import { readPairFile } from "../inputs/case-files.ts";
import { withModel } from "../model.ts";
import type { ModelOptions } from "../options.ts";
import { patchText } from "../text/patch.ts";

interface PatchCommandOptions extends ModelOptions {
  pairFile: string;
  node?: PatchNode;
  by?: PatchPlace;
  metric: PatchMetric;
  into?: string;
  through?: PathEnd;
  form?: PathForm;
  prependBos?: boolean;
}

/** Patches activations, or paths between heads. */
export async function patchPrompts(context: Context, options: PatchCommandOptions): Promise<void> {
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
}

/** Path patching: the table of senders. */
async function patchPathsCommand(context: Context, options: PatchCommandOptions): Promise<void> {
  const { into, through, form = "direct", node, by } = options;
  if (into === undefined || through === undefined || (node ?? "z") !== "z" || (by ?? "head") !== "head")
    throw new HeadscopeError("usage", "path patching needs --into and --through, and goes by head over z", {
      remedy: "give both, and leave --node and --by out",
    });
  await withModel(context, options, async (model) => {
    const heads = await parseHeads(into, headModel(model));
    const pairs = await readPairFile(options.pairFile, model, options.prependBos);
    const { signal, progress } = context;
    const result = await patchPaths(model, { pairs, into: heads, through, form, signal, progress });
    const what = `z into ${result.receivers.join(", ")} through ${through} (${PATH_FORM_WORDS[form]})`;
    await context.print(result, () =>
      patchText(result, { node: what, by: "head", metric: options.metric, model, pair: pairs[0]! }),
    );
  });
}
