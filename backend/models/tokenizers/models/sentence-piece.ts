import { byteToken, utf8 } from "../text/bytes.ts";
import { mergeAll } from "./merging.ts";
import type { Trie } from "./pair-table.ts";
import type { TokenIds } from "./token-model.ts";

/** A SentencePiece model's pieces. */
export interface Pieces {
  /** Every token, by id. */
  readonly tokens: readonly string[];
  /** Of the tokens; higher is better. */
  readonly scores: ArrayLike<number>;
  readonly ids: ReadonlyMap<string, number>;
  /** True for a token that may come of a merge. */
  readonly isPiece: (id: number) => boolean;
  /** True for a token that is taken apart again when it comes of a merge. */
  readonly isUnused?: (id: number) => boolean;
  readonly unknown: number | undefined;
  readonly byteFallback: boolean;
  /** Pieces that a user defined: found first, and merged with nothing. */
  readonly userDefined?: Trie;
}

/**
 * A SentencePiece model of the BPE kind (Kudo and Richardson 2018): of two neighbours that make a piece together, those whose
 * piece has the best score are joined first, the left ones of equals. What is no piece in the end becomes bytes or unknown.
 */
export class SentencePieceBpe implements TokenIds {
  readonly #pieces: Pieces;
  #ranks: Int32Array | undefined;
  #longest = 0;

  constructor(pieces: Pieces) {
    this.#pieces = pieces;
  }

  encode(text: string, ids: number[]): void {
    const ranks = this.#rankings();
    const vocabulary = this.#pieces.ids;
    const starts: number[] = [];
    const ends: number[] = [];
    const frozen = new Set<number>();
    for (let at = 0; at < text.length; ) {
      const own = this.#pieces.userDefined?.longest(text, at);
      if (own !== undefined && own.value >= 0) frozen.add(starts.length);
      starts.push(at);
      at = own !== undefined && own.value >= 0 ? own.end : at + (text.codePointAt(at)! > 0xffff ? 2 : 1);
      ends.push(at);
    }
    /** Places at which unused pieces were put together. */
    const seams = new Map<string, number>();
    const places = mergeAll(starts.length, {
      rank: (left, right) => {
        if (ends[right]! - starts[left]! > this.#longest || frozen.has(left) || frozen.has(right)) return -1;
        const id = vocabulary.get(text.slice(starts[left], ends[right]));
        return id === undefined ? -1 : ranks[id]!;
      },
      join: (left, right) => {
        const whole = text.slice(starts[left], ends[right]);
        if (this.#pieces.isUnused?.(vocabulary.get(whole)!)) seams.set(whole, ends[left]! - starts[left]!);
        ends[left] = ends[right]!;
      },
    });
    let unknown = false;
    const rest = places.map((place) => text.slice(starts[place], ends[place])).reverse();
    for (let part = rest.pop(); part !== undefined; part = rest.pop()) {
      const seam = seams.get(part);
      if (seam !== undefined) {
        rest.push(part.slice(seam), part.slice(0, seam));
        continue;
      }
      unknown = this.#push(part, ids, unknown);
    }
  }

  /** Appends the ids of a part. @returns whether it is unknown; unknown parts that follow each other are one token */
  #push(part: string, ids: number[], afterUnknown: boolean): boolean {
    const { ids: vocabulary, isPiece, byteFallback, unknown } = this.#pieces;
    const id = vocabulary.get(part);
    if (id !== undefined && isPiece(id)) {
      ids.push(id);
      return false;
    }
    if (byteFallback) {
      const bytes = Array.from(utf8(part), (byte) => vocabulary.get(byteToken(byte)));
      if (!bytes.includes(undefined)) {
        for (const byte of bytes) ids.push(byte!);
        return false;
      }
    }
    if (unknown === undefined) return afterUnknown;
    if (!afterUnknown) ids.push(unknown);
    return true;
  }

  /** Rank of each token, best score first and equal for equal scores; -1 for those that no merge makes. */
  #rankings(): Int32Array {
    if (this.#ranks !== undefined) return this.#ranks;
    const { tokens, scores, isPiece } = this.#pieces;
    const best = [...tokens.keys()].filter(isPiece).sort((a, b) => scores[b]! - scores[a]!);
    const ranks = new Int32Array(tokens.length).fill(-1);
    let rank = -1;
    let score: number | undefined;
    for (const id of best) {
      if (scores[id] !== score) rank++;
      score = scores[id];
      ranks[id] = rank;
      this.#longest = Math.max(this.#longest, tokens[id]!.length);
    }
    this.#ranks = ranks;
    return ranks;
  }
}
