import { createHash } from "node:crypto";
import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { nextProbabilities } from "../circuits/next-tokens.ts";
import type { Candidate, PromptInput } from "../common/api/prompts.ts";
import { HeadscopeError } from "../common/errors.ts";
import type { ForwardOptions } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { tokenLabel, tokenLabels } from "../models/tokenizers/labels.ts";
import { checkRow, encodeText } from "../models/tokens.ts";
import { tf } from "../runtime/tf.ts";
import { topIndices } from "../runtime/top.ts";

/** Schema of the token ids of one prompt. */
export const tokenIds = z.array(z.number());

/** Schema of a prompt of a model: a text, or ids. `bos` decides whether BOS comes before a text; default as the tokenizer does. */
export const promptInput = z.union([
  z.strictObject({ model: z.string(), text: z.string(), bos: z.boolean().optional() }),
  z.strictObject({ model: z.string(), tokens: tokenIds }),
]);

/**
 * The ids of a prompt.
 * @throws HeadscopeError for an empty one, a text without a tokenizer, ids outside the vocabulary, more than the context
 */
export function promptInputIds(model: Model, input: PromptInput): readonly number[] {
  const ids = "text" in input ? encodeText(model, input.text, input.bos) : input.tokens;
  if (model.config.d_input !== undefined)
    throw new HeadscopeError("unsupported", `${model.ref} reads vectors, not tokens`, {
      remedy: "choose a model of tokens",
    });
  checkRow(ids, "the prompt", model);
  return ids;
}

/** The name of a prompt, from the model's weights and the ids. */
export function promptId(digest: string, ids: readonly number[]): string {
  const hash = createHash("sha256").update(`${digest} ${ids.join(",")}`);
  return `p${hash.digest("hex").slice(0, 24)}`;
}

/** A label of each token; the ids in a model without a tokenizer. */
export function tokenTexts({ tokenizer }: Model, ids: readonly number[]): string[] {
  return tokenizer === undefined ? ids.map(String) : tokenLabels(tokenizer, ids);
}

/** One token and its probability. */
export function candidateOf({ tokenizer }: Model, id: number, probability: number): Candidate {
  return { id, text: tokenizer === undefined ? String(id) : tokenLabel(tokenizer, id), probability };
}

/** The run that a stream comes from, to say where numbers that are none arose. */
export interface StreamOrigin extends Pick<ForwardOptions, "interventions"> {
  readonly ids: readonly number[];
}

/**
 * Probability of every token after a prompt [d_vocab].
 * @param stream after the last layer [1, positions, d_model]
 * @throws HeadscopeError (input) for logits that are no numbers
 */
export function probabilitiesAfter(model: Model, stream: Tensor, { ids, ...changes }: StreamOrigin): Float32Array {
  const [, positions, width] = stream.shape as [number, number, number];
  const last = tf.tidy(() => tf.reshape(tf.slice(stream, [0, positions - 1, 0], [1, 1, width]), [1, width]));
  try {
    return nextProbabilities(model, last, { tokens: [ids], ...changes })[0]!;
  } finally {
    last.dispose();
  }
}

/** The likeliest tokens after a prompt, best first. @param stream after the last layer [1, positions, d_model] */
export function candidates(model: Model, stream: Tensor, count: number, run: StreamOrigin): Candidate[] {
  const probabilities = probabilitiesAfter(model, stream, run);
  return topIndices(probabilities, count).map((id) => candidateOf(model, id, probabilities[id]!));
}
