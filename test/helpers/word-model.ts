import type { Model } from "../../backend/models/model.ts";
import type { Tokenizer } from "../../backend/models/tokenizers/tokenizer.ts";

/** Peculiarities of a tokenizer of words. */
export interface WordModelOptions {
  /** Digits of a number that are one token. */
  readonly digits?: number;
  /** Words that come out as two tokens. */
  readonly cut?: (word: string) => boolean;
  /** What becomes one token across the words' borders. */
  readonly join?: RegExp;
}

/** A model of words: every word with the space before it is a token, every digit, or every two digits, one of its own. */
export function wordModel({ digits = 1, cut = () => false, join }: WordModelOptions = {}): Model & {
  tokenizer: Tokenizer;
} {
  const ids = new Map<string, number>([["<bos>", 0]]);
  const words = ` ?[A-Za-z_]+|[0-9]{1,${digits}}|\\n| +|[^\\sA-Za-z0-9]`;
  const pieces = new RegExp(join ? `${join.source}|${words}` : words, "g");
  const encode: Tokenizer["encode"] = (text, { prependBos = true } = {}) => {
    const found = (text.match(pieces) ?? []).flatMap((word) =>
      cut(word.trim()) ? [word.slice(0, 2), word.slice(2)] : [word],
    );
    return [...(prependBos ? ["<bos>"] : []), ...found].map((word) => {
      if (!ids.has(word)) ids.set(word, ids.size);
      return ids.get(word)!;
    });
  };
  const word = (id: number): string => [...ids.keys()][id]!;
  const tokenizer = { encode, bos: 0, token: word, decode: (row: number[]) => row.map(word).join("") };
  return { ref: "words", config: { d_vocab: 5000, n_ctx: 512 }, tokenizer } as unknown as Model & {
    tokenizer: Tokenizer;
  };
}
