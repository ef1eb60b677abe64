import type { Tensor } from "@tensorflow/tfjs";
import { allFinite, notFinite } from "../hooks/finite.ts";
import type { ForwardOptions } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { gatherRows } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import { topIndices } from "../runtime/top.ts";
import { streamLogits } from "./loss.ts";

/** A token that may come next, and its probability in either run. */
export interface NextToken {
  id: number;
  text?: string;
  clean: number;
  ablated: number;
}

/** The run that streams come from, to say where numbers that are none arose. */
export interface StreamRun extends Pick<ForwardOptions, "interventions"> {
  readonly tokens: readonly (readonly number[])[];
}

/**
 * Probability of every next token, by stream [d_vocab].
 * @param streams after the last layer [streams, d_model]
 * @throws HeadscopeError (input) for logits that are no numbers
 */
export function nextProbabilities(model: Model, streams: Tensor, { tokens, ...changes }: StreamRun): Float32Array[] {
  const probabilities = tf.tidy(() => tf.softmax(streamLogits(model, streams)));
  // Read outside of tidy, which would look for tensors in every number of what it returns.
  const values = probabilities.dataSync() as Float32Array;
  probabilities.dispose();
  if (!allFinite(values)) throw notFinite(model, "the logits", tokens, changes);
  const { d_vocab } = model.config;
  return Array.from({ length: streams.shape[0]! }, (_, i) => values.subarray(i * d_vocab, (i + 1) * d_vocab));
}

/**
 * The likeliest tokens after each row, by the larger of two runs' probabilities.
 * @param clean streams of the rows' last positions [rows, d_model] @param ablated alike
 */
export function nextTokens(
  model: Model,
  clean: Tensor,
  ablated: Tensor,
  { tokens, count }: { tokens: StreamRun["tokens"]; count: number },
): NextToken[][] {
  return Array.from({ length: clean.shape[0]! }, (_, r) => {
    const both = tf.tidy(() => tf.concat([clean, ablated].map((t) => gatherRows(t, tf.tensor1d([r], "int32")))));
    const [before, after] = nextProbabilities(model, both, { tokens }) as [Float32Array, Float32Array];
    both.dispose();
    const larger = before.map((p, id) => Math.max(p, after[id]!));
    return topIndices(larger, count).map((id) => ({
      id,
      ...(model.tokenizer ? { text: model.tokenizer.token(id) } : {}),
      clean: before[id]!,
      ablated: after[id]!,
    }));
  });
}
