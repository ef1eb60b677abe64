import { z } from "zod";
import { evenAttention, meanMetric, patternProbe, summarise } from "../base.ts";
import { duplicateToken } from "./duplicate-token.ts";
import { meanAttentionBack, repeated, repeatedParameters } from "./repeated.ts";

const ECHO = duplicateToken.name;
const parameters = repeatedParameters.extend({
  echo: z
    .boolean()
    .optional()
    .describe(`also give the metric ${ECHO} of the same rows, attention to the earlier same token`),
});

/** Attention from each token of a repetition to the token after its first occurrence. */
export const induction = patternProbe({
  name: "induction",
  title: "Induction heads",
  description:
    "On BOS r r with r of random tokens: mean attention, over the second copy, from each token to the one that followed it " +
    "in the first copy. 1 is a perfect induction head; a head that attends evenly has about 1 / (1.5 length).",
  source: "Olsson et al. 2022, In-context Learning and Induction Heads (prefix matching)",
  parameters,
  meanings: {
    induction: {
      meaning:
        "Share of attention, over the second copy of random tokens, that goes to the token which followed the present one in the first copy.",
      range: [0, 1],
      chance: ({ length: n }) => evenAttention(n + 1, 2 * n),
    },
    [ECHO]: { ...duplicateToken.meanings![ECHO]!, chance: ({ length: n, echo }) => (echo ? evenAttention(n + 1, 2 * n) : undefined) }, // biome-ignore format: one line
  },
  ...repeated,
  adapt: (model, { echo, ...own }, context) => ({ ...repeated.adapt(model, own, context), ...(echo && { echo }) }),
  // Query i of the second copy, positions n + 1 … 2n: A[i, i - n + 1], and of the same token A[i, i - n].
  sums: ({ length: n, echo }) => ({
    induction: meanAttentionBack(n - 1, n + 1, 2 * n),
    ...(echo && { [ECHO]: meanAttentionBack(n, n + 1, 2 * n) }),
  }),
  scores: (sums) => {
    const metrics = Object.fromEntries(Object.entries(sums).map(([metric, tables]) => [metric, meanMetric(tables)]));
    return { metrics, summary: summarise(metrics["induction"]!.values) };
  },
  reach: ({ length, echo }) => (echo ? length : length - 1),
});
