import { LONGEST_TOKEN } from "../../formats/budgets.ts";
import { Trie } from "../models/pair-table.ts";
import { damaged, type Vocabulary } from "../models/token-model.ts";
import { CLASSES } from "../text/unicode.ts";
import type { Normalize } from "./normalizers.ts";
import type { AddedToken } from "./steps.ts";

/** A part of a text that is an added token, or one without any. */
export interface Section {
  readonly text: string;
  /** Id of the added token. */
  readonly id?: number;
  /** Its beginning, in UTF-16 units. */
  readonly start: number;
}

const WORD = new RegExp(`^${CLASSES.rustWord}$`, "v");
const SPACE = new RegExp(`^[${CLASSES.space}]$`, "v");

/** Tokens that are looked for in a text before anything else is done with it, as Rust's tokenizers do. */
export class AddedTokens {
  readonly #byId = new Map<number, AddedToken>();
  readonly #ids = new Map<string, number>();
  /** Texts by id: of tokens that are matched in normalised texts their normalised ones. */
  readonly #contents = new Map<number, string>();
  readonly #special = new Set<string>();
  /** Those that are matched in the text as it is written, and in the normalised one. */
  readonly #written: Trie;
  readonly #normalised: Trie;

  /**
   * Gives each token its id: that of the vocabulary, or the next free one. Ids that a file states are not asked, nor are they by
   * Rust's tokenizers.
   */
  constructor(tokens: readonly AddedToken[], vocabulary: Vocabulary, normalize: Normalize) {
    let largest = -1;
    for (const token of tokens) {
      if (token.content === "") continue;
      if (token.content.length > LONGEST_TOKEN)
        throw damaged(`an added token has ${token.content.length} characters; ${LONGEST_TOKEN} are the most`);
      const next = Math.max(largest + 1, vocabulary.ids.size);
      const id = this.#ids.get(token.content) ?? vocabulary.ids.get(token.content) ?? next;
      largest = Math.max(largest, id);
      this.#ids.set(token.content, id);
      this.#byId.set(id, token);
    }
    const entries = [...this.#ids].map(([content, id]) => ({ content, id, token: this.#byId.get(id)! }));
    const isNormalised = (token: AddedToken) => token.normalized ?? !token.special;
    for (const { content, id, token } of entries) {
      this.#contents.set(id, isNormalised(token) ? normalize(content) : content);
      if (token.special) this.#special.add(content);
    }
    this.#written = new Trie(
      entries.filter(({ token }) => !isNormalised(token)).map(({ content, id }) => [content, id] as const),
    );
    this.#normalised = new Trie(
      entries.filter(({ token }) => isNormalised(token)).map(({ content, id }) => [normalize(content), id] as const),
    );
  }

  /** Text of an added token. */
  content(id: number): string | undefined {
    return this.#contents.get(id);
  }

  /** Id of an added token. */
  id(content: string): number | undefined {
    return this.#ids.get(content);
  }

  /** Ids of all of them. */
  get ids(): Iterable<number> {
    return this.#byId.keys();
  }

  /** Tells whether a token is left out of texts on demand. */
  isSpecial(id: number): boolean {
    return this.#special.has(this.#contents.get(id) ?? "");
  }

  /** Parts of a text as it is written. */
  inWritten(text: string): Section[] {
    return this.#sections(text, this.#written);
  }

  /** Parts of a normalised text. */
  inNormalised(text: string): Section[] {
    return this.#sections(text, this.#normalised);
  }

  #sections(text: string, trie: Trie): Section[] {
    const sections: Section[] = [];
    let rest = 0;
    for (let at = 0; at < text.length; ) {
      const { end: matched, value: id } = trie.longest(text, at);
      if (id < 0) {
        at++;
        continue;
      }
      const { start, end, taken } = this.#extent(text, { begin: at, matched, rest }, this.#byId.get(id)!);
      at = matched;
      if (!taken) continue;
      if (rest < start) sections.push({ text: text.slice(rest, start), start: rest });
      sections.push({ text: text.slice(start, end), id, start });
      rest = end;
    }
    if (rest !== text.length) sections.push({ text: text.slice(rest), start: rest });
    return sections;
  }

  /** A match with the white space that its token takes, and whether it counts: a single word must stand alone. */
  #extent(text: string, match: { begin: number; matched: number; rest: number }, token: AddedToken) {
    const { begin, matched, rest } = match;
    if (token.single_word && (WORD.test(charBefore(text, begin)) || WORD.test(charAt(text, matched))))
      return { start: begin, end: matched, taken: false };
    let start = begin;
    let end = matched;
    if (token.lstrip) {
      while (start > 0 && SPACE.test(text[start - 1]!)) start--;
      start = Math.max(start, rest);
    }
    if (token.rstrip) while (end < text.length && SPACE.test(text[end]!)) end++;
    return { start, end, taken: true };
  }
}

const charAt = (text: string, at: number): string =>
  at < text.length ? String.fromCodePoint(text.codePointAt(at)!) : "";

function charBefore(text: string, at: number): string {
  const low = at > 1 && (text.charCodeAt(at - 1) & 0xfc00) === 0xdc00;
  return at === 0 ? "" : charAt(text, at - (low ? 2 : 1));
}
