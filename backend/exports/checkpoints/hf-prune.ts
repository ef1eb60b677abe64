import { z } from "zod";
import { HeadscopeError } from "../../common/errors.ts";
import type { Head } from "../../common/heads/head.ts";
import type { HeadMask } from "../../common/heads/mask.ts";
import { meaningOf } from "../../common/heads/meaning.ts";

import { writeFileAtomic } from "../../paths.ts";
import type { Exporter } from "../export.ts";
import { refuseFolder } from "../folder.ts";

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
  async write({ mask }, path) {
    await refuseFolder(path);
    const byLayer: Record<string, number[]> = {};
    for (const { layer, head } of headsToAblate(mask!)) {
      byLayer[layer] ??= [];
      byLayer[layer].push(head);
    }
    await writeFileAtomic(path, `${JSON.stringify(byLayer)}\n`);
    return { path, files: [path] };
  },
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
