import type { ModelInfo } from "../../../../backend/common/api/models.ts";
import type { Prompt } from "../../../../backend/common/api/prompts.ts";
import { getBytes, post } from "../../api/client.ts";
import { readSafetensors } from "../../api/safetensors.ts";

/** Most tokens of a prompt that is run at every checkpoint. */
const LONGEST = 256;

/** Token ids to show attention on: the first token, then some of the vocabulary twice, so that copying heads show. */
export function exampleTokens({ d_vocab, n_ctx }: Pick<ModelInfo["config"], "d_vocab" | "n_ctx">): number[] {
  const length = Math.max(1, Math.min(16, Math.floor((n_ctx - 1) / 2), d_vocab - 1));
  // Spread over the vocabulary, each once; BOS, id 0, is left out.
  const half = Array.from({ length }, (_, i) => 1 + Math.floor((i * (d_vocab - 1)) / length));
  return [0, ...half, ...half].slice(0, n_ctx);
}

/**
 * Reads token ids with spaces or commas between them.
 * @returns what is wrong with them in words otherwise
 */
export function parseTokenIds(
  text: string,
  { d_vocab, n_ctx }: Pick<ModelInfo["config"], "d_vocab" | "n_ctx">,
): { tokens: number[] } | { problem: string } {
  const tokens = text
    .trim()
    .split(/[\s,]+/)
    .map(Number);
  if (tokens.some((id) => !Number.isInteger(id) || id < 0 || id >= d_vocab))
    return { problem: `give ids from 0 to ${d_vocab - 1} with spaces between` };
  const most = Math.min(n_ctx, LONGEST);
  return tokens.length > most ? { problem: `give at most ${most} ids` } : { tokens };
}

/** A head's attention on a prompt at a checkpoint. */
export interface CheckpointPattern {
  readonly model: string;
  readonly ids: readonly number[];
  readonly tokens: readonly string[];
  /** Mean loss of the prompt's tokens, nats. */
  readonly loss: number | null;
  /** [query, key] */
  readonly pattern: Float32Array;
}

/** Runs a prompt through a checkpoint and reads one head's pattern. @param model run:ID@STEP @throws ApiError */
export async function checkpointPattern(
  model: string,
  ids: readonly number[],
  { layer, head }: { readonly layer: number; readonly head: number },
  signal: AbortSignal,
): Promise<CheckpointPattern> {
  const prompt = await post<Prompt>("/api/prompts", { model, tokens: ids }, signal);
  const file = await getBytes(`/api/prompts/${prompt.id}/patterns/${layer}?heads=${head}&dtype=f16`, signal);
  const { data } = readSafetensors(file)[0]!;
  return { model, ids: prompt.ids, tokens: prompt.tokens, loss: prompt.loss, pattern: data };
}
