/**
 * Score of an answer: the share of what was asked for that stands somewhere in the text, whatever the case of its letters
 * (RULER's string match).
 * @param answers at least one
 */
export function answerScore(text: string, answers: readonly string[]): number {
  const written = text.toLowerCase();
  return answers.filter((answer) => written.includes(answer.toLowerCase())).length / answers.length;
}

/**
 * Score of a text that was foretold: the share of its tokens that were the likeliest.
 * @param likeliest token id at each place [tokens] @param scored ids of the text [tokens]
 */
export function greedyScore(likeliest: ArrayLike<number>, scored: readonly number[]): number {
  return scored.filter((id, place) => likeliest[place] === id).length / scored.length;
}
