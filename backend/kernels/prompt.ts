import type { Tensor } from "@tensorflow/tfjs";
import { native } from "../runtime/ops.ts";
import { kernelTensor, runKernel } from "./op.ts";

/** Queries and keys of a prompt in one layer. */
export interface PromptScores {
  /** Of the last positions, after the rotation [heads, queries, d_head]; d_head from 1 to 1,024. */
  readonly queries: Tensor;
  /** Of positions 0, 1, ... [KV heads, keys, d_head]. */
  readonly keys: Tensor;
  /** Factor of the scores. */
  readonly scale: number;
}

/** Attention of some queries summed up, each [heads, keys]. */
export interface LineSums {
  /** By key. */
  readonly byKey: Tensor;
  /** By distance from a query to a key. */
  readonly byDistance: Tensor;
}

/**
 * Sums the attention of the last queries along columns and diagonals.
 * @param cap scores become cap · tanh(score / cap); default none
 * @throws HeadscopeError (usage) for what does not fit
 */
export function lineSums({ queries, keys, scale, cap }: PromptScores & { cap?: number | undefined }): LineSums {
  const attrs = { scale: { float: scale }, cap: { float: cap ?? 0 } };
  const [byKey, byDistance] = runKernel("HsLineSums", attrs, [queries, keys], 2).map((m) => native().createOutputTensor(m)); // biome-ignore format: one line
  return { byKey: byKey!, byDistance: byDistance! };
}

/**
 * Sums over squares the attention that antidiagonals of tiles estimate: queries from the first on and keys from position 0 on in tiles of
 * `stride`, whose mean products along the antidiagonal are softmaxed along the keys.
 * @param side of a square, a multiple of the stride, at most 64
 * @returns [heads, squares of queries, squares of keys]
 * @throws HeadscopeError (usage) for what does not fit
 */
export function antidiagonalSums(call: PromptScores & { stride: number; side: number }): Tensor {
  const { queries, keys, scale, stride, side } = call;
  return kernelTensor("HsAntidiagonalSums", { scale: { float: scale }, stride, side }, [queries, keys]);
}
