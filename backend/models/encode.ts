import { HeadscopeError } from "../common/errors.ts";
import type { Model } from "./model.ts";
import type { Tokenizer } from "./tokenizers/tokenizer.ts";

/** A model as far as texts are concerned. */
type Textual = Pick<Model, "ref" | "tokenizer" | "tokenizerFault">;

/**
 * A model's tokenizer.
 * @param options.label stands before the error's message @param options.remedy what to do in a model without a tokenizer
 * @throws HeadscopeError for a model without one, with what is wrong with the one that its files hold
 */
export function requireTokenizer(
  { ref, tokenizer, tokenizerFault: fault }: Textual,
  { label = "", remedy = "give token ids" }: { label?: string; remedy?: string } = {},
): Tokenizer {
  if (tokenizer) return tokenizer;
  const why = fault === undefined ? "has no tokenizer" : `has a tokenizer that cannot be used (${fault})`;
  throw new HeadscopeError("unsupported", `${label}${ref} ${why}, so it takes no text`, { remedy });
}

/**
 * Token ids of a text.
 * @param prependBos default: as the model's tokenizer does
 * @param options as for `requireTokenizer`
 * @throws HeadscopeError for a model without a tokenizer, or BOS asked of one that has none
 */
export function encodeText(
  model: Textual,
  text: string,
  prependBos?: boolean,
  options: { label?: string; remedy?: string } = {},
): number[] {
  return requireTokenizer(model, options).encode(text, prependBos === undefined ? {} : { prependBos });
}
