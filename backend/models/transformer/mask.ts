import type { Tensor } from "@tensorflow/tfjs";
import { conditionOn } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";

const FAR = 1e9;
/**
 * The number that hook_attn_scores shows at keys that a query may not attend to: finite, so that it stays so in files. Whatever
 * is put there at or below it takes the key away too.
 */
export const MASKED = -FAR / 2;

/** The keys of a streaming head: of all earlier ones the first `sink` and the last `recent`. */
export interface Window {
  sink: number;
  recent: number;
}

/** Limits of a head's attention beside causality. */
export interface AttentionLimits {
  /** Of a streaming head. */
  window?: Window | undefined;
  /** Keys that a query reaches, its own included, in a layer of local attention. */
  local?: number | undefined;
}

/**
 * Additive mask: 0 where a query may attend, a very large negative number elsewhere.
 * @param query positions [query, 1] @param key positions [1, key]
 * @returns [query, key]
 */
export function additiveMask(query: Tensor, key: Tensor, { window, local }: AttentionLimits = {}): Tensor {
  const age = tf.sub(query, key); // 0 for the query's own key
  let inside = tf.minimum(age, 0);
  if (local !== undefined) inside = tf.minimum(inside, tf.sub(local - 1, age));
  if (window) inside = tf.minimum(inside, tf.maximum(tf.sub(window.recent - 1, age), tf.sub(window.sink - 1, key)));
  return tf.mul(inside, FAR);
}

/** True where a score is above MASKED, and so is the mask. NaN counts as above, so that it is not lost. */
export function seen(scores: Tensor, mask?: Tensor): Tensor {
  return conditionOn(scores, (x) => {
    const above = tf.logicalNot(tf.lessEqual(x, MASKED));
    return mask ? tf.logicalAnd(tf.greater(mask, MASKED), above) : above;
  });
}

/** A tensor where a condition holds, and one number elsewhere. */
export function where(condition: Tensor, x: Tensor, otherwise: number): Tensor {
  return tf.where(condition, x, tf.fill(x.shape, otherwise));
}
