import { z } from "zod";
import { HeadscopeError } from "../../common/errors.ts";
import type { Head } from "../../common/heads/head.ts";
import type { HeadMask } from "../../common/heads/mask.ts";
import { meaningOf } from "../../common/heads/meaning.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { Exporter } from "../export.ts";
import { writeFile } from "../folder.ts";

const parameters = z.object({});

/** The dictionary that `prune_heads` of transformers 4 takes; version 5 has no such function. */
export const hfPrune: Exporter<typeof parameters> = {
  name: "hf-prune",
  title: "Hugging Face pruning dictionary (transformers 4)",
  description:
    "JSON {layer: [heads]} of the query heads that a mask ablates, for transformers' prune_heads or a configuration's " +
    "pruned_heads in version 4, for the classes that have it (GPT-2, BERT and others of their age). Version 5 has neither: " +
    "there pruned-checkpoint takes the heads out of any model. JSON keys are text, so a script turns them into numbers " +
    "first. Layers that lose no head are absent.",
  source: "transformers 4, PreTrainedModel.prune_heads",
  parameters,
  from: ["mask"],
  leavesOut: "streaming",
  needsCheckpoint: false,
  output: "file",
  write: ({ mask }, path) =>
    writeFile(path, () => {
      const byLayer: Record<string, number[]> = {};
      for (const { layer, head } of headsToAblate(mask!)) byLayer[layer] = [...(byLayer[layer] ?? []), head];
      return `${JSON.stringify(byLayer)}\n`;
    }),
};

/**
 * The query heads that a mask ablates.
 * @throws HeadscopeError `input` when the mask chooses among KV heads only
 */
export function headsToAblate(mask: HeadMask): readonly Head[] {
  if (mask.heads === undefined)
    throw new HeadscopeError("input", "the mask ablates no query heads: it chooses among KV heads only", {
      remedy: "give the heads to ablate with --heads, or a mask whose heads are keep or ablate",
    });
  return meaningOf(mask).ablated;
}

/** The names of W_O among the engine's parts and among Llama's tensors. */
const OUTPUT = /^(?:blocks|model\.layers)\.(\d+)\.(?:attn\.o|self_attn\.o_proj\.weight)$/;

/** A weight with zeros in the columns of ablated heads where it is their layer's W_O [d_model, heads * d_head]; others as they are. */
export function withoutHeads(
  name: string,
  values: Float32Array,
  ablated: readonly Head[],
  { n_heads, d_head }: Pick<ModelConfig, "n_heads" | "d_head">,
): Float32Array {
  const layer = OUTPUT.exec(name)?.[1];
  const heads = layer === undefined ? [] : ablated.filter((head) => head.layer === Number(layer));
  if (heads.length === 0) return values;
  const zeroed = values.slice();
  for (let row = 0; row < values.length; row += n_heads * d_head)
    for (const { head } of heads) zeroed.fill(0, row + head * d_head, row + (head + 1) * d_head);
  return zeroed;
}
