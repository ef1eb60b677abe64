/** A score of every head on a text of one's own: the share of attention along a pattern. */
export interface PatternScore {
  readonly name: string;
  /** Name in a list. */
  readonly title: string;
  /** Meaning of a head's value, in a sentence. */
  readonly meaning: string;
  /** The inputs that decide the pattern beside the text; a text alone decides the others. */
  readonly needs?: "held" | "pattern";
  /** The probe that has this very definition on any text; the others are the probe pattern's. */
  readonly probe?: "first-token" | "current-token";
  /** The keys of a query, as the probe pattern takes them. @param held position of the held token, where the pattern is about one */
  expression(held: number): string;
}

/** The share of a query's attention that goes to the keys of a pattern is taken over the queries that have such keys. */
export const PATTERN_SCORES: readonly PatternScore[] = [
  {
    name: "first-token",
    title: "attention to the first token",
    meaning: "Share of attention that goes from a token to the first one, mean over the tokens of the text.",
    probe: "first-token",
    expression: () => "key == 0",
  },
  {
    name: "previous-token",
    title: "attention to the previous token",
    meaning: "Share of attention that goes from a token to the one before it, mean over the tokens but the first.",
    expression: () => "key == query - 1",
  },
  {
    name: "current-token",
    title: "attention to the token itself",
    meaning: "Share of attention that goes from a token to itself, mean over the tokens of the text.",
    probe: "current-token",
    expression: () => "key == query",
  },
  {
    name: "induction",
    title: "attention to the token after the same one",
    meaning:
      "Share of attention that goes from a token to those which followed the same token earlier, mean over the tokens that stood earlier.",
    expression: () => "token[key - 1] == token[query]",
  },
  {
    name: "duplicate-token",
    title: "attention to the same token earlier",
    meaning:
      "Share of attention that goes from a token to the same token earlier, mean over the tokens that stood earlier.",
    expression: () => "token[key] == token[query] and key < query",
  },
  {
    name: "held-token",
    title: "attention to the held token",
    meaning: "Share of attention that goes to the held token, mean over the tokens behind it.",
    needs: "held",
    expression: (held) => `key == ${held} and query > ${held}`,
  },
  {
    name: "last-to-held",
    title: "attention of the last token to the held one",
    meaning: "Share of the last token's attention that goes to the held token.",
    needs: "held",
    expression: (held) => `key == ${held} and query == length - 1`,
  },
  {
    name: "pattern",
    title: "attention along your pattern",
    meaning: "Share of a query's attention that goes to the keys of the pattern, mean over the queries that have any.",
    needs: "pattern",
    expression: () => "",
  },
];

/** The score that is no pattern: what each head adds to the logit difference of a question, by direct attribution. */
export const DIRECT_EFFECT = {
  name: "direct-effect",
  title: "direct effect on the answer",
  meaning:
    "What the head's output adds to logit(answer) - logit(wrong) where the answer is foretold, by direct logit attribution.",
} as const;

/** Most characters of a pattern's expression. */
export const LONGEST_EXPRESSION = 1_000;

/** Most tokens of a text whose heads are scored so. */
export const MOST_SCORED_TOKENS = 2_048;

/** The score of a name. @throws Error for one that is none: names are written by us */
export function patternScore(name: string): PatternScore {
  const found = PATTERN_SCORES.find((score) => score.name === name);
  if (found === undefined) throw new Error(`there is no score ${name}`);
  return found;
}
