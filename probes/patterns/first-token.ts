import { patternScore } from "../../backend/common/texts/head-scores.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { evenAttention, patternProbe } from "../base.ts";
import { anyRows, anyRowsParameters, attentionWhere, meanOverQueries } from "./any-rows.ts";

/** Attention from each token to the first. */
export const firstToken = patternProbe({
  name: "first-token",
  title: "First-token heads",
  description:
    "Mean attention from each token to the first, itself included, on rows of your own (a text or a tokens file, of any lengths) or on BOS r r.",
  source: "ARENA, first-token heads; Gu et al. 2024 call such heads sinks (probe attention-sink)",
  parameters: anyRowsParameters,
  meaning: {
    meaning: patternScore("first-token").meaning,
    range: [0, 1],
    chance: ({ length }: { length?: number }) => length && evenAttention(0, 2 * length),
  },
  ...anyRows,
  // Sum over queries i of A[i, 0].
  sums: () => ({ score: attentionWhere("first token", (query, key) => [key, tf.mul(query, 0)]) }),
  scores: ({ score }, _, rows) => meanOverQueries("first-token", score!, rows),
});
