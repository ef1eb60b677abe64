/**
 * Parts of a text that a verdict on an ablation can be about. all: every token but the first. repeated: those that copying foretells.
 * token: the held one. word: every one like it. from: it and those behind it. answer: the held one against a wrong one, by a metric.
 * docs/texts.md has the definitions.
 */
export const TEXT_PARTS = ["all", "repeated", "token", "word", "from", "answer"] as const;
/** One of `TEXT_PARTS`. */
export type TextPart = (typeof TEXT_PARTS)[number];

/** The parts that are about a held token. */
export const HELD_PARTS: readonly TextPart[] = ["token", "word", "from", "answer"];

/**
 * Positions of the tokens that copying foretells: the token before them and they themselves stood one after the other earlier
 * in the text.
 */
export function repeatedPositions(ids: readonly number[]): number[] {
  const seen = new Set<string>();
  const found: number[] = [];
  for (let t = 1; t < ids.length; t++) {
    const pair = `${ids[t - 1]} ${ids[t]}`;
    if (seen.has(pair)) found.push(t);
    seen.add(pair);
  }
  return found;
}

/**
 * Positions of the tokens of a part, from 1 on: the first token is foretold by nothing and has no loss.
 * @param held position of the held token; of no matter to `all` and `repeated`
 * @returns none where the text has no such token
 */
export function partPositions(part: TextPart, ids: readonly number[], held?: number): number[] {
  const all = Array.from({ length: Math.max(0, ids.length - 1) }, (_, i) => i + 1);
  if (part === "all") return all;
  if (part === "repeated") return repeatedPositions(ids);
  if (held === undefined) return [];
  if (part === "word") return all.filter((t) => ids[t] === ids[held]);
  return all.filter((t) => (part === "from" ? t >= held : t === held));
}

/**
 * Mean loss over the tokens at some positions of rows, each token counting alike.
 * @param nll loss of each token from the second on, [rows][positions - 1] @param positions by row
 */
export function meanLossAt(nll: readonly (readonly number[])[], positions: readonly (readonly number[])[]): number {
  const losses = positions.flatMap((own, r) => own.map((t) => nll[r]![t - 1]!));
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

/** The mean and the ends of a control's draws. @param draws at least one value */
export function drawsSpread(draws: readonly number[]): { mean: number; range: [number, number] } {
  return {
    mean: draws.reduce((sum, value) => sum + value, 0) / draws.length,
    range: [Math.min(...draws), Math.max(...draws)],
  };
}
