import type { Tensor, Tensor2D } from "@tensorflow/tfjs";
import { tf } from "../runtime/tf.ts";

/** Weights of a layer's retaining head: of its hidden layer [hidden, (heads + 2 KV heads) d_head], of its output [KV heads, hidden]. */
export interface RetainingHead {
  readonly fc1: Tensor;
  readonly fc2: Tensor;
}

/** Tokens of a layer, before the rotation. */
export interface TokenVectors {
  /** [tokens, heads, d_head] */
  readonly q: Tensor;
  /** [tokens, KV heads, d_head], as are values */
  readonly k: Tensor;
  readonly v: Tensor;
}

/**
 * The largest attention logit that each key is to receive, as Locret's small MLP foretells it from the token's own query, key and value.
 * @returns [tokens, KV heads]
 * @see Huang et al. 2024, Locret, equation 2: SiLU between two maps without biases
 */
export function foretoldLogits({ fc1, fc2 }: RetainingHead, { q, k, v }: TokenVectors): Tensor {
  const flat = [q, k, v].map((t) => tf.reshape(t, [t.shape[0]!, -1]));
  const hidden = tf.matMul(tf.concat(flat, 1) as Tensor2D, fc1 as Tensor2D, false, true);
  return tf.matMul(tf.mul(hidden, tf.sigmoid(hidden)), fc2 as Tensor2D, false, true);
}
