import { HeadscopeError } from "../common/errors.ts";
import type { Model } from "../models/model.ts";

/** A token, by its id, or a text that ends a continuation; neither is part of the result. */
export type Stop = number | string;

/** Stops sorted by their kind. */
export interface StopRule {
  readonly ids: ReadonlySet<number>;
  readonly texts: readonly string[];
}

/** The stops that a model's own files name, and others beside them. */
export function ownStops({ stops }: Pick<Model, "stops">, others: readonly Stop[] = []): Stop[] {
  return [...stops.tokens.map(({ id }) => id), ...stops.texts.map(({ text }) => text), ...others];
}

/**
 * Checks what is to end a continuation.
 * @throws HeadscopeError "input" for an id that is no token of the model or an empty text, "unsupported" for a text in a model
 *   without a tokenizer
 */
export function stopRule({ ref, config, tokenizer }: Model, stops: readonly Stop[]): StopRule {
  const texts = stops.filter((stop) => typeof stop === "string");
  const ids = stops.filter((stop) => typeof stop === "number");
  if (texts.length > 0 && !tokenizer)
    throw new HeadscopeError("unsupported", `${ref} has no tokenizer, so no text ends its continuations`, {
      remedy: "give the ids of tokens",
    });
  if (texts.includes(""))
    throw new HeadscopeError("input", "an empty text can't end a continuation", {
      remedy: "give a text or a token id",
    });
  const stranger = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= config.d_vocab);
  if (stranger !== undefined)
    throw new HeadscopeError("input", `the stop ${stranger} is no token of ${ref}`, {
      remedy: `token ids go from 0 to ${config.d_vocab - 1}`,
    });
  return { ids: new Set(ids), texts };
}
