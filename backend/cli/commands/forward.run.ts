import { HeadscopeError, unknownName } from "../../common/errors.ts";
import { refuseFolder } from "../../exports/folder.ts";
import { LENGTHS } from "../../hooks/activation-cache.ts";
import { compileInterventions } from "../../hooks/interventions.ts";
import type { ModelConfig } from "../../models/config.ts";
import { forward } from "../../models/forward/forward.ts";
import { hookNames } from "../../models/transformer/hook-points.ts";
import type { Context } from "../context.ts";
import { readInterventions } from "../inputs/case-files.ts";
import { writeTensors } from "../inputs/tensor-file.ts";
import { tokensOf } from "../inputs/tokens.ts";
import { withModel } from "../model.ts";
import type { ModelOptions, TokenOptions } from "../options.ts";
import * as format from "../text/format.ts";

interface ForwardCommandOptions extends ModelOptions, TokenOptions {
  names: string;
  out: string;
  interventions?: string;
}

/** Writes activations and logits to a safetensors file. */
export async function writeActivations(context: Context, options: ForwardCommandOptions): Promise<void> {
  const changes = options.interventions === undefined ? [] : await readInterventions(options.interventions);
  await refuseFolder(options.out);
  await withModel(context, options, async (model) => {
    const rows = await tokensOf(model, options);
    const names = expandNames(options.names, hookNames(model.config), model.config);
    const hooks = names.filter((name) => name !== "logits");
    const wantLogits = names.includes("logits");
    // A few numbers, which live as long as the process.
    const interventions = compileInterventions(model, changes, {
      rows: rows.length,
      positions: Math.max(...rows.map((row) => row.length)),
      tokens: rows,
    });
    const result = forward(
      model,
      { tokens: rows, logitsAt: wantLogits ? "all" : "none" },
      {
        names: hooks,
        interventions,
        onLayer: (layer) => {
          context.signal.throwIfAborted();
          context.progress(layer + 1, model.config.n_layers, "forward");
        },
      },
    );
    try {
      const tensors = names.map((name) => ({
        name,
        tensor: name === "logits" ? result.logits! : result.activations.get(name)!,
      }));
      const written = await writeTensors(options.out, tensors, {
        "headscope.model": model.ref,
        "headscope.digest": model.digest,
        [LENGTHS]: result.lengths.join(","),
        ...(changes.length > 0 ? { "headscope.interventions": JSON.stringify(changes) } : {}),
      });
      const summary = {
        out: options.out,
        bytes: written,
        model: model.ref,
        lengths: result.lengths,
        tensors: Object.fromEntries(tensors.map(({ name, tensor }) => [name, tensor.shape])),
      };
      await context.print(summary, () =>
        [
          format.table(
            ["activation", "shape"],
            tensors.map(({ name, tensor }) => [name, `[${tensor.shape.join(", ")}]`]),
          ),
          "",
          `Written to ${options.out} (${format.bytes(written)}).`,
          ...(new Set(result.lengths).size > 1
            ? [`Rows have ${result.lengths.join(", ")} tokens; what lies behind them is 0.`]
            : []),
        ].join("\n"),
      );
    } finally {
      result.dispose();
    }
  });
}

/**
 * The names that a list with globs stands for, each once, in the order of the list.
 * @param list names with commas between; * stands for any text without a dot
 * @param hooks the model's hook names
 * @throws HeadscopeError `usage` for a name or glob that stands for nothing
 */
export function expandNames(list: string, hooks: readonly string[], config: Pick<ModelConfig, "n_layers">): string[] {
  const all = [...hooks, "logits"];
  const names = list
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  if (names.length === 0)
    throw new HeadscopeError("usage", "--names is empty", {
      remedy: "give hook names, such as blocks.0.attn.hook_z, or logits",
    });
  const expanded = names.flatMap((name) => {
    const pattern = new RegExp(`^${name.split("*").map(literal).join("[^.]*")}$`);
    const matches = name.includes("*") ? all.filter((each) => pattern.test(each)) : all.filter((each) => each === name);
    if (matches.length > 0) return matches;
    const layer = /^blocks\.(\d+)\./.exec(name)?.[1];
    if (layer !== undefined && Number(layer) >= config.n_layers)
      throw new HeadscopeError("usage", `there is no hook name "${name}": the model has no layer ${layer}`, {
        remedy: `layers are 0 to ${config.n_layers - 1}`,
      });
    throw unknownName("hook name", name, all);
  });
  return [...new Set(expanded)];
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
