import { writeHuggingFace } from "../../exports/checkpoints/hugging-face.ts";
import { transformerLensLimits, writeTransformerLens } from "../../exports/checkpoints/transformer-lens.ts";
import type { Context } from "../context.ts";
import { withModel } from "../model.ts";

/** Options of `headscope models export`. */
export interface ModelExportOptions {
  out: string;
  force?: boolean;
  format: string;
}

/** Writes a model for TransformerLens, or as a Hugging Face folder. */
export async function exportModel(
  context: Context,
  { out, force, format }: ModelExportOptions,
  ref: string,
): Promise<void> {
  if (format === "hf") return exportHuggingFace(context, ref, out, force);
  await withModel(context, { model: ref }, async (model) => {
    const { path, files } = await writeTransformerLens(model, out, { force, signal: context.signal });
    const limits = transformerLensLimits(model.config);
    await context.print({ model: ref, digest: model.digest, path, files, limits }, () =>
      [
        `${ref} is written to ${path}: ${files.join(", ")}.`,
        ...(limits.length === 0
          ? ["HookedTransformerConfig.from_dict takes config.json; load_state_dict(..., strict=False) the weights."]
          : ["TransformerLens cannot run it, for the model", ...limits.map((limit) => `  ${limit}`)]),
      ].join("\n"),
    );
  });
}

async function exportHuggingFace(
  context: Context,
  ref: string,
  out: string,
  force: boolean | undefined,
): Promise<void> {
  await withModel(context, { model: ref }, async (model) => {
    const { path, files } = await writeHuggingFace(model, out, { force, signal: context.signal });
    await context.print(
      { model: ref, digest: model.digest, path, files },
      () => `${ref} is written to ${path}: ${files.join(", ")}. transformers reads it with from_pretrained.`,
    );
  });
}
