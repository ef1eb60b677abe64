import { evenAttention, patternProbe } from "../base.ts";
import { meanAttentionBack, repeated, repeatedParameters } from "./repeated.ts";

/** Attention from each token to the one before it. */
export const previousToken = patternProbe({
  name: "previous-token",
  title: "Previous-token heads",
  description:
    "On BOS r r with r of random tokens: mean attention from each token but the first to the token before it.",
  source: "Olsson et al. 2022; TransformerLens's head detector",
  parameters: repeatedParameters,
  meaning: {
    meaning: "Share of attention that goes from each token to the one before it.",
    range: [0, 1],
    chance: ({ length: n }) => evenAttention(1, 2 * n),
  },
  ...repeated,
  // Every query i >= 1: A[i, i - 1].
  sums: ({ length: n }) => ({ score: meanAttentionBack(1, 1, 2 * n) }),
  reach: () => 1,
});
