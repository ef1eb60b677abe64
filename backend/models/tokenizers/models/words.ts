import { damaged, type TokenIds, type Vocabulary } from "./token-model.ts";

function unknownOf(vocabulary: Vocabulary, token: string): number {
  const id = vocabulary.ids.get(token);
  if (id === undefined) throw damaged(`its unknown token ${JSON.stringify(token.slice(0, 40))} is none of its tokens`);
  return id;
}

/** A token for each piece, or the unknown token. */
export class WordLevel implements TokenIds {
  readonly #vocabulary: Vocabulary;
  readonly #unknown: string;

  /** @param unknown the token for pieces that are none */
  constructor(vocabulary: Vocabulary, unknown: string) {
    this.#vocabulary = vocabulary;
    this.#unknown = unknown;
  }

  encode(piece: string, ids: number[]): void {
    ids.push(this.#vocabulary.ids.get(piece) ?? unknownOf(this.#vocabulary, this.#unknown));
  }
}

/** Most UTF-16 units of a token, and of the pieces that are cut: each place of a piece is compared with all lengths. */
const MOST_REACH = 256;
const LONGEST_PIECE = 1000;

/** The longest token first, then the longest that goes on from there (BERT); a piece that leaves a rest is unknown as a whole. */
export class WordPiece implements TokenIds {
  readonly #vocabulary: Vocabulary;
  readonly #settings: { readonly unknown: string; readonly prefix: string; readonly longest: number };
  /** Most UTF-16 units of a token. */
  readonly #reach: number;

  /**
   * @param settings.prefix begins the tokens inside of words @param settings.longest most characters of a piece that is cut
   * @throws HeadscopeError "corrupt" for tokens or pieces so long that a text would take forever
   */
  constructor(
    vocabulary: Vocabulary,
    settings: { readonly unknown: string; readonly prefix: string; readonly longest: number },
  ) {
    this.#vocabulary = vocabulary;
    this.#settings = settings;
    this.#reach = [...vocabulary.ids.keys()].reduce((most, token) => Math.max(most, token.length), 0);
    if (this.#reach > MOST_REACH) throw damaged(`a token has ${this.#reach} characters; ${MOST_REACH} are the most`);
    if (settings.longest > LONGEST_PIECE)
      throw damaged(`max_input_chars_per_word is ${settings.longest}; ${LONGEST_PIECE} are the most`);
  }

  encode(piece: string, ids: number[]): void {
    const { unknown, longest } = this.#settings;
    const parts = [...piece].length > longest ? undefined : this.#parts(piece);
    if (parts === undefined) ids.push(unknownOf(this.#vocabulary, unknown));
    else ids.push(...parts);
  }

  #parts(piece: string): number[] | undefined {
    const ids: number[] = [];
    for (let start = 0; start < piece.length; ) {
      const prefix = start === 0 ? "" : this.#settings.prefix;
      let end = Math.min(piece.length, start + this.#reach);
      let id: number | undefined;
      for (; end > start; end--) {
        id = this.#vocabulary.ids.get(prefix + piece.slice(start, end));
        if (id !== undefined) break;
      }
      if (id === undefined) return undefined;
      ids.push(id);
      start = end;
    }
    return ids;
  }
}
