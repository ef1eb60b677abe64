import { writeHuggingFace } from "../../exports/checkpoints/hugging-face.ts";
import { transformerLensLimits, writeTransformerLens } from "../../exports/checkpoints/transformer-lens.ts";
import type { Context } from "../context.ts";
import { withModel } from "../model.ts";

interface ModelExportOptions {
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
  const write = format === "hf" ? writeHuggingFace : writeTransformerLens;
  await withModel(context, { model: ref }, async (model) => {
    const { path, files } = await write(model, out, { force, signal: context.signal });
    const limits = format === "hf" ? undefined : transformerLensLimits(model.config);
    await context.print({ model: ref, digest: model.digest, path, files, limits }, () => {
      const place = `${ref} is written to ${path}: ${files.join(", ")}.`;
      return limits === undefined
        ? `${place} transformers reads it with from_pretrained.`
        : [place, ...advice(limits)].join("\n");
    });
  });
}

/** The use of a folder for TransformerLens. @param limits sentences on what it cannot express */
function advice(limits: readonly string[]): string[] {
  return limits.length === 0
    ? ["HookedTransformerConfig.from_dict takes config.json; load_state_dict(..., strict=False) the weights."]
    : ["TransformerLens cannot run it, for the model", ...limits.map((limit) => `  ${limit}`)];
}
