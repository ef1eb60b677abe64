import { patternScore } from "../../backend/common/texts/head-scores.ts";
import { evenAttention, patternProbe } from "../base.ts";
import { anyRows, anyRowsParameters, attentionWhere, meanOverQueries } from "./any-rows.ts";

/** Attention from each token to itself. */
export const currentToken = patternProbe({
  name: "current-token",
  title: "Current-token heads",
  description:
    "Mean attention from each token to itself, on rows of your own (a text or a tokens file, of any lengths) or on BOS r r.",
  source: "TransformerLens's head detector; ARENA, current-token heads",
  parameters: anyRowsParameters,
  meaning: {
    meaning: patternScore("current-token").meaning,
    range: [0, 1],
    chance: ({ length }: { length?: number }) => length && evenAttention(0, 2 * length),
  },
  ...anyRows,
  // Sum over queries i of A[i, i].
  sums: () => ({ score: attentionWhere("current token", (query, key) => [query, key]) }),
  scores: ({ score }, _, rows) => meanOverQueries("current-token", score!, rows),
});
