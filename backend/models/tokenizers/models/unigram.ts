import { byteToken, utf8 } from "../text/bytes.ts";
import { Trie } from "./pair-table.ts";
import { damaged, type TokenIds, Vocabulary } from "./token-model.ts";

/** Nats by which an unknown character is less likely than the least likely token. */
const UNKNOWN_PENALTY = 10;

/** Settings of a Unigram model. */
export interface UnigramSettings {
  /** Id of the token for unknown characters. */
  readonly unknown: number | undefined;
  readonly byteFallback: boolean;
  /** Ids that are no pieces of texts (control tokens of SentencePiece). */
  readonly left_out?: (id: number) => boolean;
  /** Sums in single precision, as sentencepiece has them; Rust's tokenizers sum in double. */
  readonly single?: boolean;
}

/**
 * The most likely of all ways to make a text of tokens (Kudo 2018), by Viterbi's algorithm. The sum is over log probabilities;
 * of equal ones the way found first counts.
 */
export class Unigram implements TokenIds {
  readonly vocabulary: Vocabulary;
  readonly #scores: Float64Array;
  readonly #settings: UnigramSettings;
  readonly #unknownScore: number;
  #trie: Trie | undefined;

  /** @param tokens by id @param scores log probabilities in nats */
  constructor(tokens: readonly string[], scores: ArrayLike<number>, settings: UnigramSettings) {
    this.vocabulary = new Vocabulary(new Map(tokens.map((token, id) => [token, id])), tokens);
    this.#scores = Float64Array.from(scores);
    this.#settings = settings;
    const counted = this.#scores.filter((_, id) => !settings.left_out?.(id));
    this.#unknownScore = this.#rounded(
      counted.reduce((least, score) => Math.min(least, score), Infinity) - UNKNOWN_PENALTY,
    );
  }

  encode(piece: string, ids: number[]): void {
    for (const text of this.#best(piece)) this.#push(text, ids);
  }

  #rounded(value: number): number {
    return this.#settings.single ? Math.fround(value) : value;
  }

  /** Texts of the best way's tokens; unknown ones that follow each other are one. */
  #best(piece: string): string[] {
    const { unknown, left_out } = this.#settings;
    this.#trie ??= new Trie([...this.vocabulary.ids].filter(([, id]) => !left_out?.(id)));
    const scores = new Float64Array(piece.length + 1);
    const starts = new Int32Array(piece.length + 1).fill(-1);
    const ids = new Int32Array(piece.length + 1);
    for (let start = 0; start < piece.length; ) {
      const before = scores[start]!;
      const next = start + (piece.codePointAt(start)! > 0xffff ? 2 : 1);
      let single = false;
      const offer = (end: number, id: number, score: number): void => {
        const total = this.#rounded(score + before);
        if (end === next) single = true;
        if (starts[end]! >= 0 && total <= scores[end]!) return;
        [scores[end], starts[end], ids[end]] = [total, start, id];
      };
      this.#trie.from(piece, start, (end, id) => offer(end, id, this.#scores[id]!));
      if (!single) offer(next, unknown ?? -1, this.#unknownScore);
      start = next;
    }
    const texts: string[] = [];
    let end = piece.length;
    while (end > 0) {
      let start = starts[end]!;
      if (unknown !== undefined && ids[end] === unknown)
        while (start > 0 && ids[start] === unknown) start = starts[start]!;
      texts.push(piece.slice(start, end));
      end = start;
    }
    return texts.reverse();
  }

  #push(text: string, ids: number[]): void {
    const { byteFallback, unknown, left_out } = this.#settings;
    const vocabulary = this.vocabulary.ids;
    const id = vocabulary.get(text);
    if (id !== undefined && !left_out?.(id)) {
      ids.push(id);
      return;
    }
    const bytes = byteFallback ? Array.from(utf8(text), (byte) => vocabulary.get(byteToken(byte))) : [undefined];
    if (!bytes.includes(undefined)) {
      for (const byte of bytes) ids.push(byte!);
      return;
    }
    if (unknown === undefined)
      throw damaged(`${JSON.stringify(text.slice(0, 40))} is unknown to it, and it has no unknown token`);
    ids.push(unknown);
  }
}
