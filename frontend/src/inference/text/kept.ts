import { percent } from "../../format.ts";

/** Tokens from the first up to, not including, the end. */
export interface TokenSpan {
  readonly first: number;
  readonly end: number;
}

/** The tokens that a sentence's characters are in. @param texts of the tokens, in order @returns undefined where it is not in them */
export function spanOf(texts: readonly string[], sentence: string): TokenSpan | undefined {
  const from = texts.join("").indexOf(sentence);
  if (from < 0) return undefined;
  const to = from + sentence.length;
  let [at, first, end] = [0, -1, 0];
  for (const [i, text] of texts.entries()) {
    if (at < to && at + text.length > from) {
      if (first < 0) first = i;
      end = i + 1;
    }
    at += text.length;
  }
  return { first, end };
}

/** Mean and least of shares. */
export function meanAndLeast(shares: readonly number[]): { readonly mean: number; readonly least: number } {
  let [sum, least] = [0, 1];
  for (const share of shares) {
    sum += share;
    least = Math.min(least, share);
  }
  return { mean: sum / Math.max(1, shares.length), least };
}

/** Shares of the KV heads that hold the tokens of a prompt, and those of a sentence in it, in words. */
export function keptWords(shares: readonly number[], sentence: TokenSpan | undefined): string {
  const all = meanAndLeast(shares);
  const whole = `A token of the prompt is held by ${percent(all.mean)} of the KV heads on average, by ${percent(all.least)} at the least`;
  if (sentence === undefined) return `${whole}.`;
  const own = meanAndLeast(shares.slice(sentence.first, sentence.end));
  return `${whole}; one of the fact's sentence by ${percent(own.mean)}, at the least ${percent(own.least)}.`;
}
