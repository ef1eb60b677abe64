import { HeadscopeError } from "../errors.ts";
import type { Model } from "./model.ts";

/**
 * Token ids of a text.
 * @param prependBos default: as the model's tokenizer does
 * @param options.label stands before the error's message @param options.remedy what to do in a model without a tokenizer
 * @throws HeadscopeError for a model without a tokenizer, or BOS asked of one that has none
 */
export function encodeText(
  { ref, tokenizer }: Pick<Model, "ref" | "tokenizer">,
  text: string,
  prependBos?: boolean,
  { label = "", remedy = "give token ids" }: { label?: string; remedy?: string } = {},
): number[] {
  if (!tokenizer)
    throw new HeadscopeError("unsupported", `${label}${ref} has no tokenizer, so it takes no text`, { remedy });
  return tokenizer.encode(text, prependBos === undefined ? {} : { prependBos });
}
