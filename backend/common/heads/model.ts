import type { z } from "zod";
import type { headModelSchema } from "../api/documents.ts";
import { HeadscopeError } from "../errors.ts";
import type { HeadShape } from "./head.ts";

/** The model that a score or mask file belongs to. */
export type HeadModel = z.output<typeof headModelSchema>;

/** The model that a file must belong to. */
export interface ModelShape extends HeadShape {
  readonly ref: string;
  readonly digest?: string | undefined;
}

/** Describes a loaded model for the files about it. */
export function headModel(model: {
  readonly ref: string;
  readonly family: string;
  readonly digest: string;
  readonly config: { readonly n_layers: number; readonly n_heads: number; readonly n_key_value_heads: number };
}): HeadModel {
  const { n_layers, n_heads, n_key_value_heads } = model.config;
  const { ref, family, digest } = model;
  return { ref, family, digest, layers: n_layers, heads: n_heads, kvHeads: n_key_value_heads };
}

/** "30 layers of 9 heads and 3 KV heads". */
export function shapeWords({ layers, heads, kvHeads }: HeadShape): string {
  return `${layers} layers of ${heads} heads and ${kvHeads} KV heads`;
}

/**
 * Refuses a file made for another model: by digest where both have one, by shape otherwise.
 * @param label the file, such as "mask mask.json"; the error starts with it
 * @throws HeadscopeError `mismatch` naming both models
 */
export function checkModel(document: { readonly model: HeadModel }, model: ModelShape, label = "the file"): void {
  const origin = document.model;
  const sameShape = origin.layers === model.layers && origin.heads === model.heads && origin.kvHeads === model.kvHeads;
  if (!sameShape)
    throw new HeadscopeError(
      "mismatch",
      `${label} is for ${origin.ref} (${shapeWords(origin)}), but the model is ${model.ref} (${shapeWords(model)})`,
      { remedy: `make it again with --model ${model.ref}` },
    );
  if (origin.digest !== undefined && model.digest !== undefined && origin.digest !== model.digest)
    throw new HeadscopeError(
      "mismatch",
      `${label} is for ${origin.ref} (weights ${short(origin.digest)}), but the model ${model.ref} has other weights (${short(model.digest)})`,
      { remedy: `make it again with --model ${model.ref}, or load the model it was made with` },
    );
}

function short(digest: string): string {
  return digest.slice(0, "sha256:".length + 12);
}
