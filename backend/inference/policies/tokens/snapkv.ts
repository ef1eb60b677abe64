import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { groupMean, patternOf, withLast } from "../attention.ts";
import { evenParameters } from "../kinds/parameters.ts";
import { type LayerView, tokenPolicy } from "../kinds/tokens.ts";
import { inUnit } from "../kinds/units.ts";

/** Parameters of the scores of SnapKV. */
export const windowParameters = {
  window: inUnit(
    "tokens",
    z.int().min(1).default(64).describe("last tokens of the prompt whose attention chooses; they stay"),
  ),
  kernel: inUnit(
    "tokens",
    z
      .int()
      .min(1)
      .refine((kernel) => kernel % 2 === 1, "give an odd number")
      .default(5)
      .describe("neighbouring keys that share their scores, an odd number"),
  ),
};

/** Keys that the prompt's last tokens attend to. */
export const snapkv = tokenPolicy({
  name: "snapkv",
  title: "What the prompt's end attends to",
  description:
    "Each KV head keeps the last `window` tokens and the keys that these attend to most, neighbours with them. It keeps what the " +
    "question at the end asks for, so that a second question may miss its answer.",
  source: "Li et al. 2024, SnapKV: LLM Knows What You are Looking for Before Generation",
  parameters: z.object({ ...evenParameters, ...windowParameters }),
  least: ({ window }) => window,
  queries: ({ window }) => ({ of: window }),
  score: snapScores,
});

/** Attention of the window to earlier keys: mean over its queries, average-pooled along keys, mean over the group; the window above all. */
export function snapScores(view: LayerView, { window, kernel }: { window: number; kernel: number }): Tensor {
  const { kvHeads, held } = view;
  const pattern = patternOf(view); // [heads, window, held]
  const heads = pattern.shape[0]!;
  const attention = tf.mean(tf.slice(pattern, [0, 0, 0], [heads, window, held - window]), 1); // [heads, held - window]
  return withLast(groupMean(pooled(attention, kernel), kvHeads), window);
}

/** Mean of each key's neighbourhood; zeros beyond the ends count. @param x [heads, keys] */
function pooled(x: Tensor, kernel: number): Tensor {
  const [heads, keys] = x.shape as [number, number];
  const side = (kernel - 1) / 2;
  const padded = tf.pad(x, [[0, 0], [side, side]]); // biome-ignore format: one line a step
  const shifts = Array.from({ length: kernel }, (_, i) => tf.slice(padded, [0, i], [heads, keys]));
  return tf.div(tf.addN(shifts), kernel);
}
