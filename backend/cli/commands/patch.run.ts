import { patch } from "../../circuits/patching/patch.ts";
import { patchPaths } from "../../circuits/patching/path.ts";
import { patchTogether, readPlaces } from "../../circuits/patching/together.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { formatHead } from "../../common/heads/head.ts";
import { headModel } from "../../common/heads/model.ts";
import type { MetricName } from "../../common/metrics.ts";
import {
  PATH_ENDS,
  PATH_MLPS_WORDS,
  type PatchDirection,
  type PatchGrid,
  type PatchGroups,
  type PatchMethod,
  type PatchNode,
  type PatchPlace,
  type PathEnd,
  type PathMlps,
} from "../../common/patching.ts";
import { parseHeads } from "../../heads/refs.ts";
import type { Model } from "../../models/model.ts";
import type { Context } from "../context.ts";
import { readOptionalInterventions, readPairFile } from "../inputs/case-files.ts";
import { withModel, withStudiedModel } from "../model.ts";
import type { ModelOptions } from "../options.ts";
import { type PatchedPlaces, patchedText, patchText, pathText } from "../text/patch.ts";

interface PatchCommandOptions extends ModelOptions {
  pairFile: string;
  node?: PatchNode;
  by?: PatchPlace | PatchGrid | PatchGroups;
  group?: number;
  places?: string;
  method: PatchMethod;
  direction: PatchDirection;
  metric: MetricName;
  into?: string;
  through?: PathEnd;
  from?: string;
  kvGroup?: boolean;
  mlps?: PathMlps;
  interventions?: string;
  prependBos?: boolean;
}

/** Patches activations one place at a time or several at once, or paths between parts. */
export async function patchPrompts(context: Context, options: PatchCommandOptions): Promise<void> {
  const { into, through, from, kvGroup, mlps, places } = options;
  if ([into, through, from, kvGroup, mlps].some((option) => option !== undefined))
    return patchPathsCommand(context, options);
  if (places !== undefined) return patchPlacesCommand(context, options, places);
  if (options.node === undefined || options.by === undefined)
    throw new HeadscopeError("usage", `--${options.node === undefined ? "node" : "by"} is missing`, {
      remedy: "give --node and --by, or --places, or --into",
    });
  const { node, by, group, method } = options;
  await withModel(context, options, async (model) => {
    const common = await commonOf(context, options, model);
    const interventions = await readOptionalInterventions(options.interventions);
    const result = await patch(model, { ...common, node, by, group, method, interventions });
    const kv = node === "k" || node === "v";
    await context.print(result, () => patchText(result, { ...shownOf(model, common), node, by, kv }));
  });
}

/** Reads the options that every kind of patching has. */
async function commonOf(context: Context, options: PatchCommandOptions, model: Model) {
  const { direction, metric, pairFile, prependBos } = options;
  const { signal, progress } = context;
  return { pairs: await readPairFile(pairFile, model, prependBos), direction, metric, signal, progress };
}

function shownOf(
  model: Model,
  { pairs, direction, metric }: Awaited<ReturnType<typeof commonOf>>,
): Pick<PatchedPlaces, "model" | "pair" | "direction" | "metric"> {
  return { model, pair: pairs[0]!, direction, metric };
}

/** Several places at once. */
async function patchPlacesCommand(context: Context, options: PatchCommandOptions, text: string): Promise<void> {
  if (options.by !== undefined || options.method !== "exact")
    throw new HeadscopeError("usage", "--places is one run with all of them patched", {
      remedy: "leave --by and --method out",
    });
  const places = readPlaces(text, options.node ?? "z");
  await withModel(context, options, async (model) => {
    const common = await commonOf(context, options, model);
    const interventions = await readOptionalInterventions(options.interventions);
    const result = await patchTogether(model, { ...common, places, interventions });
    await context.print(result, () => patchedText(result, shownOf(model, common)));
  });
}

/** Path patching: the tables of senders. */
async function patchPathsCommand(context: Context, options: PatchCommandOptions): Promise<void> {
  const { into, through, from, kvGroup, mlps = "frozen", node, by, places, method } = options;
  if (into === undefined)
    throw new HeadscopeError("usage", "path patching needs --into", { remedy: "name the receivers, such as 18.6" });
  if (through === undefined && !into.split(",").every((part) => /^\s*(m\d+|logits)\s*$/.test(part)))
    throw new HeadscopeError("usage", "path patching into heads needs --through", {
      remedy: `give what is computed from the path: ${PATH_ENDS.join(", ")}`,
      field: "through",
    });
  if (places !== undefined || method !== "exact" || (node ?? "z") !== "z" || (by ?? "head") !== "head")
    throw new HeadscopeError("usage", "path patching runs one sender after the other", {
      remedy: "leave --node, --by, --places and --method out; --from chooses senders",
    });
  await withStudiedModel(context, options, async (model) => {
    const receivers = await partsOf(into, model);
    const senders = from === undefined ? undefined : await partsOf(from, model);
    const common = await commonOf(context, options, model);
    const result = await patchPaths(model, {
      ...common,
      into: receivers,
      ...(through ? { through } : {}),
      ...(senders ? { from: senders } : {}),
      ...(kvGroup ? { kvGroup } : {}),
      mlps,
    });
    const what = `into ${result.receivers.join(", ")}${result.through ? ` through ${result.through}` : ""} (${PATH_MLPS_WORDS[mlps]})`;
    await context.print(result, () => pathText(result, what, shownOf(model, common)));
  });
}

/** Parts by their names: as written, or the best heads of a score file. */
async function partsOf(text: string, model: Model): Promise<string[]> {
  if (/^(top|bottom):/.test(text.trim())) return (await parseHeads(text, headModel(model))).map(formatHead);
  return text.split(",").map((part) => part.trim());
}
