import { z } from "zod";
import { kvTable, mainMetric } from "../../../../common/heads/metric.ts";
import { checkModel, headModel } from "../../../../common/heads/model.ts";
import type { HeadScores } from "../../../../common/heads/scores.ts";
import { neededScores, scoresParameter } from "../../heads/score-file.ts";
import { budgetParameters, kept } from "../../kinds/parameters.ts";
import { tokenPolicy } from "../../kinds/tokens.ts";
import { snapScores, windowParameters } from "../snapkv.ts";

/** Difference of numbers of tokens that is one of rounding. */
const ROUNDING = 1e-9;

/** SnapKV with budgets by the heads' retrieval scores. */
export const headkv = tokenPolicy({
  name: "headkv",
  title: "SnapKV, more in heads that retrieve",
  description:
    "Every KV head of the model gives one part in `beta` of its budget to a pool, of which each gets a share in proportion to its score; " +
    "inside a head SnapKV's scores pick. A KV head has the highest score of its query heads. A share beyond the prompt goes to the other " +
    "heads, in proportion again, where its paper's code loses it: all heads together hold what the budget says.",
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
  countsByHead(params, { tokens, full }, prepared) {
    const scores = prepared as HeadScores;
    const table = kvTable(scores, mainMetric(scores, params.metric));
    const { beta, window } = params;
    const places = full.flatMap((row, layer) => row.flatMap((own, head) => (own ? [[layer, head] as const] : [])));
    const own = places.map(([layer, head]) => table[layer]![head]!);
    const budgets = budgetsByScore(own, kept(params, tokens), { beta, window, tokens });
    const counts = full.map((row) => row.map(() => tokens));
    for (const [i, [layer, head]] of places.entries()) counts[layer]![head] = budgets[i]!;
    return counts;
  },
});

/**
 * Tokens of each head: what is left of an even budget, and a share of the pool in proportion to its score, from the window to the
 * whole prompt; all together the budget of each times their number.
 * @param scores negative ones count as 0, and where none is above 0 all get the same
 * @param budget from the window to the prompt
 */
export function budgetsByScore(
  scores: readonly number[],
  budget: number,
  { beta, window, tokens }: { beta: number; window: number; tokens: number },
): number[] {
  const positive = scores.map((score) => Math.max(0, score));
  const weights = positive.some((score) => score > 0) ? positive : positive.map(() => 1);
  const starts = weights.map(() => budget - budget / beta);
  const total = budget * scores.length;
  return wholeNumbers(filled(starts, weights, { least: window, most: tokens, total }), total);
}

/** The bounds of a head's budget, and the sum of all. */
interface Bounds {
  readonly least: number;
  readonly most: number;
  readonly total: number;
}

/**
 * Water-filling: start + level · weight of each, within bounds, at the level where all add up to the total; where those with a weight
 * are full, the others are raised evenly.
 */
function filled(starts: readonly number[], weights: readonly number[], bounds: Bounds): number[] {
  const { least, most, total } = bounds;
  const at = (level: number): number[] =>
    starts.map((start, i) => Math.min(most, Math.max(least, start + level * weights[i]!)));
  const sumAt = (level: number): number => at(level).reduce((a, b) => a + b, 0);
  // The sum is linear in the level between those at which a head comes to one of its bounds.
  const bends = starts.flatMap((start, i) =>
    weights[i]! > 0 ? [least, most].map((n) => (n - start) / weights[i]!) : [],
  );
  const levels = [0, ...bends.filter((level) => level > 0).sort((a, b) => a - b)];
  const above = levels.findIndex((level) => sumAt(level) >= total);
  if (above < 0)
    return filled(starts.map((start, i) => (weights[i]! > 0 ? most : start)), weights.map((w) => (w > 0 ? 0 : 1)), bounds); // biome-ignore format: one call
  const [low, high] = [levels[Math.max(0, above - 1)]!, levels[above]!];
  const [below, reached] = [sumAt(low), sumAt(high)];
  return at(reached > below ? low + ((total - below) / (reached - below)) * (high - low) : high);
}

/** Numbers of a whole sum rounded so that it stays: the largest fractions up, of equal ones the first. */
function wholeNumbers(numbers: readonly number[], total: number): number[] {
  const whole = numbers.map((x) => Math.floor(x + ROUNDING));
  const fractions = numbers.map((x, i) => Math.round((x - whole[i]!) / ROUNDING));
  const order = [...numbers.keys()].sort((a, b) => fractions[b]! - fractions[a]!);
  const missing = total - whole.reduce((a, b) => a + b, 0);
  for (const i of order.slice(0, missing)) whole[i]!++;
  return whole;
}
