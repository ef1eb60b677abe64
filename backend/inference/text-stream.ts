import type { Tokenizer } from "../models/formats/tokenizer.ts";

/** A text as it grows token by token: whole characters only, since a token may hold part of one. */
export class TextStream {
  readonly #tokenizer: Tokenizer | undefined;
  readonly #ids: number[] = [];
  #shown = 0;

  /** @param tokenizer of the model; without one the ids are shown */
  constructor(tokenizer: Tokenizer | undefined) {
    this.#tokenizer = tokenizer;
  }

  /** Takes the next token. @returns the text that is whole now, "" where a character still lacks bytes */
  push(id: number): string {
    this.#ids.push(id);
    const text = this.#tokenizer?.decode(this.#ids) ?? this.#ids.join(" ");
    if (text.endsWith("\ufffd")) return "";
    const grown = text.slice(this.#shown);
    this.#shown = text.length;
    return grown;
  }
}
