import type { Tokenizer } from "../models/tokenizers/tokenizer.ts";

/**
 * A text as it grows token by token: whole characters only, since a token may hold part of one, and nothing that may yet turn
 * out to be the beginning of a stop text.
 */
export class TextStream {
  readonly #tokenizer: Tokenizer | undefined;
  readonly #stops: readonly string[];
  readonly #ids: number[] = [];
  readonly #decoder: GrowingText | undefined;
  #text = "";
  #shown = 0;
  #found: string | undefined;

  /**
   * @param tokenizer of the model; without one the ids are shown
   * @param stops texts at which the text ends; neither they nor what follows them is ever shown
   */
  constructor(tokenizer: Tokenizer | undefined, stops: readonly string[] = []) {
    this.#tokenizer = tokenizer;
    this.#stops = stops;
    this.#decoder = tokenizer && new GrowingText(tokenizer);
  }

  /** Takes the next token. @returns what is certain now: "" where a character lacks bytes or a stop text may have begun */
  push(id: number): string {
    if (this.#found !== undefined) return "";
    this.#ids.push(id);
    this.#text = this.#decoder?.of(this.#ids) ?? this.#ids.join(" ");
    const end = this.#firstStop();
    if (end !== undefined) {
      this.#text = this.#text.slice(0, end);
      return this.#show(end);
    }
    if (this.#text.endsWith("\ufffd")) return "";
    return this.#show(this.#text.length - this.#mayBegin());
  }

  /** Gives the text held back, once no token follows. */
  end(): string {
    return this.#show(this.#text.length);
  }

  /** The tokens that the text has a part of: not those that lie in a stop text. */
  get ids(): number[] {
    const ids = [...this.#ids];
    if (this.#found === undefined || !this.#tokenizer) return ids;
    while (ids.length > 0 && this.#tokenizer.decode(ids.slice(0, -1)).startsWith(this.#text)) ids.pop();
    return ids;
  }

  /** The whole text so far, cut before a stop text. */
  get text(): string {
    return this.#text;
  }

  /** The stop text that has come; undefined before. */
  get stop(): string | undefined {
    return this.#found;
  }

  #show(end: number): string {
    const grown = this.#text.slice(this.#shown, end);
    this.#shown = Math.max(this.#shown, end);
    return grown;
  }

  /** Finds the beginning of the first stop text; text that is shown already can't be part of one. */
  #firstStop(): number | undefined {
    let first: number | undefined;
    for (const stop of this.#stops) {
      const start = this.#text.indexOf(stop, this.#shown);
      if (start < 0 || (first !== undefined && start >= first)) continue;
      first = start;
      this.#found = stop;
    }
    return first;
  }

  /** Length of the longest end of the text with which some stop text begins. */
  #mayBegin(): number {
    const hidden = this.#text.length - this.#shown;
    return this.#stops.reduce((longest, stop) => {
      for (let length = Math.min(stop.length - 1, hidden); length > longest; length--)
        if (this.#text.endsWith(stop.slice(0, length))) return length;
      return longest;
    }, 0);
  }
}

/** Tokens behind the settled ones before these are settled too, and settled ones that are decoded with them. */
const TAIL = 64;
const CONTEXT = 16;

/**
 * The text of tokens that only become more. Text that no later token can change is settled, so that a token costs the same at
 * any length.
 */
class GrowingText {
  readonly #tokenizer: Tokenizer;
  /** Tokens whose text is settled, and that text. */
  #settled = 0;
  #text = "";
  /** The first of the settled tokens that are decoded again, and the length of their text. */
  #from = 0;
  #context = 0;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** @param ids those of the last call and more */
  of(ids: readonly number[]): string {
    const text = this.#text + this.#tokenizer.decode(ids.slice(this.#from)).slice(this.#context);
    if (ids.length - this.#settled >= TAIL && this.#isWhole(text, ids.at(-1)!)) this.#settle(ids, text);
    return text;
  }

  /** Tells whether a token ends a character. A token of a byte may still be made one with those that follow. */
  #isWhole(text: string, last: number): boolean {
    const { grows, spelling } = this.#tokenizer;
    return grows && !text.endsWith("\ufffd") && !/^<0x[0-9A-F]{2}>$/i.test(spelling(last) ?? "");
  }

  #settle(ids: readonly number[], text: string): void {
    const from = ids.length - CONTEXT;
    const context = this.#tokenizer.decode(ids.slice(from));
    // The first text of all may lack its space: what follows would lack it without a text before it.
    if (context === "") return;
    this.#settled = ids.length;
    this.#text = text;
    this.#from = from;
    this.#context = context.length;
  }
}
