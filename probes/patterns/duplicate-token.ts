import { evenAttention, patternProbe } from "../base.ts";
import { meanAttentionBack, repeated, repeatedParameters } from "./repeated.ts";

/** Attention from each token of a repetition to its first occurrence. */
export const duplicateToken = patternProbe({
  name: "duplicate-token",
  title: "Duplicate-token heads",
  description:
    "On BOS r r with r of random tokens: mean attention, over the second copy, from each token to the same token in the first copy.",
  source: "Wang et al. 2022, Interpretability in the Wild; TransformerLens's head detector",
  parameters: repeatedParameters,
  meaning: {
    meaning:
      "Share of attention, over the second copy of random tokens, that goes to the same token in the first copy.",
    range: [0, 1],
    chance: ({ length: n }) => evenAttention(n + 1, 2 * n),
  },
  ...repeated,
  // Query i of the second copy, positions n + 1 … 2n: A[i, i - n].
  sums: ({ length: n }) => ({ score: meanAttentionBack(n, n + 1, 2 * n) }),
  reach: ({ length }) => length,
});
