import { evenAttention, patternProbe } from "../base.ts";
import { meanAttentionBack, repeated, repeatedParameters } from "./repeated.ts";

/** Attention from each token of a repetition to the token after its first occurrence. */
export const induction = patternProbe({
  name: "induction",
  title: "Induction heads",
  description:
    "On BOS r r with r of random tokens: mean attention, over the second copy, from each token to the one that followed it " +
    "in the first copy. 1 is a perfect induction head; a head that attends evenly has about 1 / (1.5 length).",
  source: "Olsson et al. 2022, In-context Learning and Induction Heads (prefix matching)",
  parameters: repeatedParameters,
  meaning: {
    meaning:
      "Share of attention, over the second copy of random tokens, that goes to the token which followed the present one in the first copy.",
    range: [0, 1],
    chance: ({ length: n }) => evenAttention(n + 1, 2 * n),
  },
  ...repeated,
  // Query i of the second copy, positions n + 1 … 2n: A[i, i - n + 1].
  sums: ({ length: n }) => ({ score: meanAttentionBack(n - 1, n + 1, 2 * n) }),
  reach: ({ length }) => length - 1,
});
