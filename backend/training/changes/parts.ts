import { HeadscopeError } from "../../common/errors.ts";
import type { ParameterPlace } from "../../models/weights/trainable.ts";

/** Parts of a model by which parameters name its weights, in the order of the forward. */
export const MODEL_PARTS = [
  "embed",
  "pos_embed",
  "attention",
  "mlp",
  "norm",
  "codes",
  "readout",
  "unembed",
  "soft_prompt",
] as const;

/** A part of a model: embeddings with their bias, all blocks' attention or MLPs, all norms, the layers of the output, the soft prompt. */
export type ModelPart = (typeof MODEL_PARTS)[number];

/** Form of a selector: a part, a layer, or a part of a layer. */
const SELECTOR = /^(?:(?<layer>\d{1,4})(?:\.(?<inner>[a-z_]+))?|(?<part>[a-z_]+))$/;

const BLOCK = /^blocks\.(?<layer>\d+)\.(?<tensor>.+)$/;

/** The part that a tensor belongs to. @param name as in `ParameterPlace` */
export function partOf(name: string): ModelPart {
  const tensor = BLOCK.exec(name)?.groups?.["tensor"] ?? name;
  if (tensor.startsWith("ln")) return "norm";
  if (tensor.startsWith("mlp.")) return "mlp";
  if (tensor.startsWith("readout.")) return "readout";
  if (tensor.startsWith("attn.")) return "attention";
  const part = MODEL_PARTS.find((each) => tensor === each || tensor === `${each}_bias`);
  if (part === undefined) throw new Error(`tensor ${name} belongs to no part of a model`);
  return part;
}

function matches(selector: string, name: string): boolean {
  const { layer, inner, part } = SELECTOR.exec(selector)!.groups!;
  if (layer !== undefined && BLOCK.exec(name)?.groups?.["layer"] !== String(Number(layer))) return false;
  const wanted = inner ?? part;
  return wanted === undefined || partOf(name) === wanted;
}

/**
 * The tensors that selectors name: `embed`, `2` (all of a layer), `2.attention`.
 * @param field the parameter that holds the selectors, for errors
 * @throws HeadscopeError `usage` for a selector that names nothing in this model
 */
export function selectPlaces(
  places: readonly ParameterPlace[],
  selectors: readonly string[],
  field: string,
): ParameterPlace[] {
  for (const selector of selectors) {
    if (SELECTOR.test(selector) && places.some(({ name }) => matches(selector, name))) continue;
    const parts = MODEL_PARTS.filter((part) => places.some(({ name }) => partOf(name) === part));
    throw new HeadscopeError("usage", `${field}: this model has no weights "${selector.slice(0, 40)}"`, {
      remedy: `name ${parts.join(", ")}, a layer such as 0, or a part of a layer such as 0.attention`,
      field,
    });
  }
  return places.filter(({ name }) => selectors.some((selector) => matches(selector, name)));
}
