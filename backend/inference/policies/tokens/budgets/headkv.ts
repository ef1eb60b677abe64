import { z } from "zod";
import { kvTable, mainMetric } from "../../../../common/heads/metric.ts";
import { checkModel, headModel } from "../../../../common/heads/model.ts";
import type { HeadScores } from "../../../../common/heads/scores.ts";
import { neededScores, scoresParameter } from "../../heads/score-file.ts";
import { budgetParameters, halfToEven, kept } from "../../kinds/parameters.ts";
import { tokenPolicy } from "../../kinds/tokens.ts";
import { snapScores, windowParameters } from "../snapkv.ts";

/** SnapKV with budgets by the heads' retrieval scores. */
export const headkv = tokenPolicy({
  name: "headkv",
  title: "SnapKV, more in heads that retrieve",
  description:
    "Every KV head of the model gives one part in `beta` of its budget to a pool, of which each gets a share in proportion to its score; " +
    "inside a head SnapKV's scores pick. A KV head has the highest score of its query heads. What a head gets beyond the prompt is lost.",
  source:
    "Fu et al. 2024, Not All Heads Matter: A Head-Level KV Cache Compression Method with Integrated Retrieval and Reasoning",
  parameters: z.object({
    ...budgetParameters,
    scores: scoresParameter,
    metric: z.string().optional().describe("metric of the score file, default its main one"),
    beta: z
      .number()
      .min(1)
      .default(1.2)
      .describe("one part in beta of the budgets is shared by score: 1 all of it; the paper tries 1.005 to 10"),
    ...windowParameters,
    window: windowParameters.window.default(8),
    kernel: windowParameters.kernel.default(7),
  }),
  prepare: ({ scores }) => neededScores(scores, "headkv"),
  check(model, { metric }, prepared) {
    checkModel(prepared as HeadScores, headModel(model), "the score file of headkv");
    mainMetric(prepared as HeadScores, metric);
  },
  least: ({ window }) => window,
  queries: ({ window }) => ({ of: window }),
  score: snapScores,
  countsByHead(params, tokens, prepared) {
    const scores = prepared as HeadScores;
    const table = kvTable(scores, mainMetric(scores, params.metric));
    return budgetsByScore(table, kept(params, tokens), params).map((row) => row.map((n) => Math.min(n, tokens)));
  },
});

/**
 * Tokens of each head: what is left of an even budget, and a share of the pool in proportion to its score; at least the window.
 * @param scores [layers][KV heads]; negative ones count as 0, and where none is above 0 all get the same
 */
export function budgetsByScore(
  scores: readonly (readonly number[])[],
  budget: number,
  { beta, window }: { beta: number; window: number },
): number[][] {
  const positive = scores.map((row) => row.map((score) => Math.max(0, score)));
  const all = positive.flat();
  const sum = all.reduce((a, b) => a + b, 0);
  const pool = (all.length * budget) / beta;
  const shareOf = (score: number): number => (sum > 0 ? score / sum : 1 / all.length);
  return positive.map((row) =>
    row.map((score) => Math.max(window, halfToEven(budget - budget / beta + shareOf(score) * pool))),
  );
}
