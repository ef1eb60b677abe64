import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../../runtime/tf.ts";
import { seen, where } from "../mask.ts";

/** Added to a query's sum of similarities, so that a query of none attends to nothing. */
const LEAST = 1e-6;

/**
 * Similarities over their sum.
 * @param similarities not negative [rows, heads, query, key] @param scores that they come from, which say what a query reaches
 */
export function shares(similarities: Tensor, scores: Tensor): Tensor {
  const reached = where(seen(scores), similarities, 0);
  return tf.div(reached, tf.add(tf.sum(reached, -1, true), LEAST));
}
