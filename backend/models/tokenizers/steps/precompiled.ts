import { notFollowed } from "./steps.ts";

/** Longest table of normalisations in bytes; nmt_nfkc has 230 thousand. */
const LONGEST = 2 ** 24;
/** Longest grapheme in bytes that is looked up as a whole: Rust's spm_precompiled does so, unlike sentencepiece. */
const LONGEST_GRAPHEME = 5;

const encoder = new TextEncoder();

/**
 * SentencePiece's table of normalisations (`precompiled_charsmap`): the size of a trie in bytes, the trie (a double array as in
 * Darts), and the replacements with a zero byte behind each.
 */
export class Charsmap {
  readonly #trie: Uint32Array;
  readonly #texts: Uint8Array;

  /** @throws HeadscopeError "unsupported" for a table that is none */
  constructor(table: Uint8Array) {
    const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
    const size = table.length >= 4 ? view.getUint32(0, true) : -1;
    if (table.length > LONGEST || size < 4 || size % 4 !== 0 || size + 4 > table.length)
      throw notFollowed("normalizer", `Precompiled has a table of ${table.length} bytes that is no trie`);
    this.#trie = Uint32Array.from({ length: size / 4 }, (_, unit) => view.getUint32(4 + 4 * unit, true));
    this.#texts = table.subarray(4 + size);
  }

  /**
   * Bytes of a text that begin a replacement, the shortest or the longest such beginning.
   * @returns its length and what stands for it; undefined without one
   */
  lookUp(bytes: Uint8Array, longest: boolean, start = 0): { length: number; text: string } | undefined {
    const trie = this.#trie;
    let match: { length: number; value: number } | undefined;
    let node = offset(trie[0] ?? 0);
    for (let at = start; at < bytes.length; at++) {
      node ^= bytes[at]!;
      const unit = trie[node] ?? 0;
      if ((unit & 0x800000ff) >>> 0 !== bytes[at]) break;
      node ^= offset(unit);
      if (((unit >>> 8) & 1) === 1) {
        match = { length: at + 1 - start, value: (trie[node] ?? 0) & 0x7fffffff };
        if (!longest) break;
      }
    }
    if (match === undefined || match.value >= this.#texts.length) return undefined;
    const end = this.#texts.indexOf(0, match.value);
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(
      this.#texts.subarray(match.value, end < 0 ? undefined : end),
    );
    return { length: match.length, text };
  }
}

function offset(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

/** The step Precompiled as Rust's tokenizers do it: by graphemes, and by characters where a grapheme has no entry. */
export function precompiled(table: Uint8Array): (text: string) => string {
  const map = new Charsmap(table);
  const cache = new Map<string, string | undefined>();
  const replacement = (part: string): string | undefined => {
    if (!cache.has(part)) {
      if (cache.size > 10_000) cache.clear();
      cache.set(part, map.lookUp(encoder.encode(part), false)?.text);
    }
    return cache.get(part);
  };
  return (text) => {
    let result = "";
    for (const { segment } of graphemes.segment(text)) {
      const whole = encoder.encode(segment).length <= LONGEST_GRAPHEME ? replacement(segment) : undefined;
      if (whole !== undefined) result += whole;
      else for (const char of segment) result += replacement(char) ?? char;
    }
    return result;
  };
}
