import { MOST_MERGES } from "../../formats/budgets.ts";
import type { TokenModel } from "../steps/steps.ts";
import { byteToken, utf8 } from "../text/bytes.ts";
import { mergeAll } from "./merging.ts";
import { PairTable } from "./pair-table.ts";
import { damaged, type TokenIds, type Vocabulary } from "./token-model.ts";

/** Settings of a BPE model as tokenizer.json has them. */
type Settings = Omit<Extract<TokenModel, { type: "BPE" }>, "type" | "vocab" | "merges" | "dropout">;

/** Pieces whose ids are kept, and the longest of them in characters: Rust's tokenizers keep as many. */
const CACHED = 10_000;
const CACHED_LENGTH = 256;

/**
 * Byte-pair encoding by a list of merges, as Rust's tokenizers do it: unknown characters become bytes or the unknown token
 * before anything is merged.
 */
export class Bpe implements TokenIds {
  readonly #vocabulary: Vocabulary;
  readonly #settings: Settings;
  /** Rank of each pair of ids, and what the pair of each rank becomes. */
  readonly #ranks: PairTable;
  readonly #joined: Int32Array;
  readonly #bytes: readonly (number | undefined)[];
  readonly #cache = new Map<string, readonly number[]>();

  /**
   * @param merges as pairs, or as texts with a space between the two
   * @throws HeadscopeError "corrupt" for a merge whose parts or whole are no tokens
   */
  constructor(vocabulary: Vocabulary, merges: readonly unknown[], settings: Settings) {
    this.#vocabulary = vocabulary;
    this.#settings = settings;
    if (merges.length > MOST_MERGES) throw damaged(`it has ${merges.length} merges; ${MOST_MERGES} are the most`);
    this.#ranks = new PairTable(merges.length);
    this.#joined = new Int32Array(merges.length);
    const prefix = settings.continuing_subword_prefix ?? "";
    for (const [rank, merge] of merges.entries()) {
      const [left, right] = pairOf(merge);
      const [first, second] = [vocabulary.ids.get(left), vocabulary.ids.get(right)];
      const whole = vocabulary.ids.get(left + right.slice(prefix.length));
      if (first === undefined || second === undefined || whole === undefined)
        throw damaged(`the merge ${brief(merge)} joins no two tokens into a third`);
      this.#ranks.set(first, second, rank);
      this.#joined[rank] = whole;
    }
    const bytes = settings.byte_fallback ? Array.from({ length: 256 }, (_, byte) => byteToken(byte)) : [];
    this.#bytes = bytes.map((token) => vocabulary.ids.get(token));
  }

  encode(piece: string, ids: number[]): void {
    if (this.#settings.ignore_merges) {
      const whole = this.#vocabulary.ids.get(piece);
      if (whole !== undefined) {
        ids.push(whole);
        return;
      }
    }
    let tokens = this.#cache.get(piece);
    if (tokens === undefined) {
      tokens = this.#merged(this.#symbols(piece));
      if (piece.length < CACHED_LENGTH && this.#cache.size < CACHED) this.#cache.set(piece, tokens);
    }
    for (const id of tokens) ids.push(id);
  }

  #merged(symbols: number[]): number[] {
    if (symbols.length < 2) return symbols;
    const places = mergeAll(symbols.length, {
      rank: (left, right) => this.#ranks.get(symbols[left]!, symbols[right]!),
      join: (left, right) => {
        symbols[left] = this.#joined[this.#ranks.get(symbols[left]!, symbols[right]!)]!;
      },
    });
    return places.map((place) => symbols[place]!);
  }

  /** Ids of a piece's characters, before they are merged. */
  #symbols(piece: string): number[] {
    const { continuing_subword_prefix, end_of_word_suffix, fuse_unk } = this.#settings;
    const symbols: number[] = [];
    // An unknown token waits until a known one follows; bytes do not end its waiting.
    let unknown: number | undefined;
    for (let at = 0; at < piece.length; ) {
      let char = String.fromCodePoint(piece.codePointAt(at)!);
      const first = at === 0;
      at += char.length;
      if (!first && continuing_subword_prefix) char = continuing_subword_prefix + char;
      if (at === piece.length && end_of_word_suffix) char += end_of_word_suffix;
      const id = this.#vocabulary.ids.get(char);
      if (id !== undefined) {
        if (unknown !== undefined) symbols.push(unknown);
        unknown = undefined;
        symbols.push(id);
        continue;
      }
      const bytes = this.#settings.byte_fallback ? this.#asBytes(char) : undefined;
      if (bytes !== undefined) {
        symbols.push(...bytes);
        continue;
      }
      const unk = this.#unknown(char);
      if (unk === undefined) continue;
      if (unknown !== undefined && !fuse_unk) symbols.push(unknown);
      unknown = unk;
    }
    if (unknown !== undefined) symbols.push(unknown);
    return symbols;
  }

  #asBytes(char: string): number[] | undefined {
    const ids: number[] = [];
    for (const byte of utf8(char)) {
      const id = this.#bytes[byte];
      if (id === undefined) return undefined;
      ids.push(id);
    }
    return ids;
  }

  #unknown(char: string): number | undefined {
    const { unk_token } = this.#settings;
    if (typeof unk_token !== "string") return undefined;
    const id = this.#vocabulary.ids.get(unk_token);
    if (id === undefined)
      throw damaged(`${brief(char)} is unknown to it, and so is its unknown token ${brief(unk_token)}`);
    return id;
  }
}

function pairOf(merge: unknown): [string, string] {
  const parts = typeof merge === "string" ? merge.split(" ") : merge;
  if (!Array.isArray(parts) || parts.length !== 2 || parts.some((part) => typeof part !== "string"))
    throw damaged(`the merge ${brief(merge)} is no pair of tokens`);
  return parts as [string, string];
}

const brief = (value: unknown): string => (JSON.stringify(value) ?? "undefined").slice(0, 80);
