import { createHash } from "node:crypto";
import type { Tensor } from "@tensorflow/tfjs";
import { logitsOf } from "../circuits/loss.ts";
import { HeadscopeError } from "../common/errors.ts";
import { allFinite, notFinite } from "../hooks/finite.ts";
import type { ForwardOptions } from "../models/forward/forward.ts";
import type { Model } from "../models/model.ts";
import { checkRow, encodeText } from "../models/tokens.ts";
import { gatherRows } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import { topIndices } from "../runtime/top.ts";
import type { Candidate, PromptInput } from "../server/api.ts";
import { tokenLabel, tokenLabels } from "./token-labels.ts";

/**
 * The ids of a prompt.
 * @throws HeadscopeError for an empty one, a text without a tokenizer, ids outside the vocabulary, more than the context
 */
export function promptIds(model: Model, input: PromptInput): readonly number[] {
  const ids = "text" in input ? encodeText(model, input.text, input.bos) : input.tokens;
  if (model.config.d_input !== undefined)
    throw new HeadscopeError("unsupported", `${model.ref} reads vectors, not tokens`, {
      remedy: "choose a model of tokens",
    });
  checkRow(ids, "the prompt", model);
  return ids;
}

/** What names a prompt: the model's weights and the ids. */
export function promptId(digest: string, ids: readonly number[]): string {
  const hash = createHash("sha256").update(`${digest} ${ids.join(",")}`);
  return `p${hash.digest("hex").slice(0, 24)}`;
}

/** A label of each token; the ids in a model without a tokenizer. */
export function tokenTexts({ tokenizer }: Model, ids: readonly number[]): string[] {
  return tokenizer === undefined ? ids.map(String) : tokenLabels(tokenizer, ids);
}

/** One token and its probability. */
export function candidate({ tokenizer }: Model, id: number, probability: number): Candidate {
  return { id, text: tokenizer === undefined ? String(id) : tokenLabel(tokenizer, id), probability };
}

/** The run that a stream comes from: to say where numbers that are none arose. */
export interface StreamRun extends Pick<ForwardOptions, "interventions"> {
  readonly ids: readonly number[];
}

/**
 * Probability of every next token [d_vocab].
 * @param stream after the last layer [1, positions, d_model]
 * @throws HeadscopeError (input) for logits that are no numbers
 */
export function nextProbabilities(model: Model, stream: Tensor, { ids, ...changes }: StreamRun): Float32Array {
  const probabilities = tf.tidy(() => {
    const [, positions, width] = stream.shape as [number, number, number];
    const last = gatherRows(tf.reshape(stream, [positions, width]), tf.tensor1d([positions - 1], "int32"));
    return tf.softmax(logitsOf(model, last));
  });
  // Read outside of tidy, which would look for tensors in every number of what it returns.
  const values = probabilities.dataSync() as Float32Array;
  probabilities.dispose();
  if (!allFinite(values)) throw notFinite(model, "the logits", [ids], changes);
  return values;
}

/** The likeliest next tokens, best first. @param stream after the last layer [1, positions, d_model] */
export function nextTokens(model: Model, stream: Tensor, count: number, run: StreamRun): Candidate[] {
  const probabilities = nextProbabilities(model, stream, run);
  return topIndices(probabilities, count).map((id) => candidate(model, id, probabilities[id]!));
}
