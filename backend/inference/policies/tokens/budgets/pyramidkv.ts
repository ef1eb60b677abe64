import { z } from "zod";
import { type Budget, budgetParameters, halfToEven, share } from "../../kinds/parameters.ts";
import { tokenPolicy } from "../../kinds/tokens.ts";
import { snapScores, windowParameters } from "../snapkv.ts";

/** SnapKV with more tokens in low layers than in high ones. */
export const pyramidkv = tokenPolicy({
  name: "pyramidkv",
  title: "SnapKV, more in low layers",
  description:
    "SnapKV's scores, with budgets that fall evenly from the first layer to the last: low layers attend widely, high ones to little. " +
    "Where the last layer would keep less than the window, all keep the same.",
  source: "Cai et al. 2024, PyramidKV: Dynamic KV Cache Compression based on Pyramidal Information Funneling",
  parameters: z.object({
    ...budgetParameters,
    ...windowParameters,
    beta: z
      .number()
      .min(1)
      .default(20)
      .describe("steepness: the last layer keeps one part in beta of the budget beyond the window"),
  }),
  least: ({ window }) => window,
  queries: ({ window }) => ({ of: window }),
  score: snapScores,
  counts: pyramid,
});

/** Tokens kept by layer. */
function pyramid(params: Budget & { window: number; beta: number }, tokens: number, layers: number): number[] {
  const { window, beta } = params;
  const even = share(params, tokens);
  const beyond = window + even - window; // as the reference rounds it
  let least = beyond / beta;
  let most = beyond * 2 - least;
  if (most >= tokens - window) {
    most = tokens - window;
    least = beyond * 2 - most;
  }
  if (most < least || least < window) return new Array<number>(layers).fill(Math.max(1, halfToEven(even)));
  const step = layers > 1 ? (most - least) / (layers - 1) : 0;
  return Array.from({ length: layers }, (_, layer) => halfToEven(most - layer * step));
}
