import { HeadscopeError } from "../../../common/errors.ts";
import { LONGEST_TOKEN, MOST_CUT_CHARACTERS } from "../../formats/budgets.ts";

/**
 * The merges of a SentencePiece model of the BPE kind (Kudo and Richardson 2018): of two neighbours that make a piece together,
 * those whose piece has the best score are joined first, the left ones of equals.
 * @param tokens every token, by id
 * @param scores of the tokens; higher is better
 * @param isPiece whether a token may come of a merge
 * @throws HeadscopeError "corrupt" for tokens that are too long, or too many long ones
 * @returns rank of each pair, lower first, by the pair as JSON
 */
export function mergeRanks(
  tokens: readonly string[],
  scores: ArrayLike<number>,
  isPiece: (id: number) => boolean,
): Map<string, number> {
  checkLengths(tokens);
  const pieces = new Set(tokens.filter((_, id) => isPiece(id)));
  const best = [...tokens.keys()].filter(isPiece).sort((a, b) => scores[b]! - scores[a]!);
  const ranks = new Map<string, number>();
  let rank = -1;
  let score: number | undefined;
  for (const id of best) {
    if (scores[id] !== score) rank++;
    score = scores[id];
    for (const [left, right] of halves(tokens[id]!))
      if (canStand(left, pieces) && canStand(right, pieces)) ranks.set(JSON.stringify([left, right]), rank);
  }
  return ranks;
}

/** The ways to cut a token, and what each costs, both grow with its length. */
function checkLengths(tokens: readonly string[]): void {
  let compared = 0;
  for (const { length } of tokens) {
    compared += length ** 2;
    if (length <= LONGEST_TOKEN && compared <= MOST_CUT_CHARACTERS) continue;
    const what = length > LONGEST_TOKEN ? `a token of ${length} characters` : "too many long tokens";
    throw new HeadscopeError("corrupt", `the tokenizer has ${what}; ${LONGEST_TOKEN} characters are the most of one`, {
      remedy: "fetch the model again",
    });
  }
}

/** The two parts of a token, for each place between two of its characters. */
function* halves(token: string): Generator<[string, string]> {
  let at = 0;
  for (const character of token) {
    if (at > 0) yield [token.slice(0, at), token.slice(at)];
    at += character.length;
  }
}

/** Tells whether a text can be one symbol while pieces are joined: a piece, or any single character. */
function canStand(text: string, pieces: ReadonlySet<string>): boolean {
  return pieces.has(text) || (text.length <= 2 && [...text].length === 1);
}
