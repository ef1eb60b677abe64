import type { Tensor } from "@tensorflow/tfjs";
import { antidiagonalScores } from "../../../backend/inference/policies/blocks/xattention.ts";
import { diagonalSums, lateAttention, type Scored } from "../../../backend/inference/policies/prompt/scores.ts";
import type { PromptScores } from "../../../backend/kernels/prompt.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { smallConfig } from "../models.ts";

/** A prompt as policies for blocks see it. */
function viewOf({ queries, keys, scale }: PromptScores, cap: number | undefined, side: number): Scored {
  const [heads, tokens, d_head] = queries.shape as [number, number, number];
  const [kvHeads, held] = keys.shape as [number, number];
  const config = {
    ...smallConfig({ n_heads: heads, n_key_value_heads: kvHeads, d_head, attn_scale: scale }),
    ...(cap === undefined ? {} : { attn_scores_soft_cap: cap }),
  };
  return { config, layer: 0, start: held - tokens, tokens, side, queries, lastQueries: () => queries, keys };
}

/** What `lineSums` gives, from plain tensors [2, heads, keys]. */
export function plainLines(scores: PromptScores, cap?: number): Tensor {
  const pattern = lateAttention(viewOf(scores, cap, 64), scores.queries.shape[1]!);
  return tf.stack([tf.sum(pattern, 1), diagonalSums(pattern)]);
}

/** What `antidiagonalSums` gives, from plain tensors [heads, squares of queries, squares of keys]. */
export function plainAntidiagonals(scores: PromptScores, { stride, side }: { stride: number; side: number }): Tensor {
  return antidiagonalScores(viewOf(scores, undefined, side), stride);
}
