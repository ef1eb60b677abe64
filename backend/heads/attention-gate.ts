import type { Tensor, Tensor2D } from "@tensorflow/tfjs";
import { tf } from "../runtime/tf.ts";

/** Weights of a layer's gate. */
export interface AttentionGate {
  /** Queries, then keys, then values of its own attention [3 width, d_model]. */
  readonly project: Tensor;
  /** [KV heads, width] */
  readonly out: Tensor;
  /** [KV heads] */
  readonly bias: Tensor;
}

/** The tokens that a gate decides about, as its own attention has them: queries, keys and values [tokens, 3 width]. */
export function gateProjections({ project }: Pick<AttentionGate, "project">, stream: Tensor): Tensor {
  const size = tf.rsqrt(tf.add(tf.mean(tf.square(stream), -1, true), 1e-6));
  return tf.matMul(tf.mul(stream, size) as Tensor2D, project as Tensor2D, false, true);
}

/**
 * The gate's scores of each token for each KV head: it stays where its sigmoid reaches a threshold. Every token looks at every other one,
 * later ones too.
 * @param projections as `gateProjections` gives them [tokens, 3 width]
 * @param hidden numbers that are added to what each token is looked at with [1, tokens], -1e9 for one that is not there
 * @returns [tokens, KV heads], before the sigmoid
 * @see Zeng et al. 2024, In-context KV-Cache Eviction for LLMs via Attention-Gate
 */
export function gateScores(
  { out, bias }: Omit<AttentionGate, "project">,
  projections: Tensor,
  hidden?: Tensor,
): Tensor {
  const [tokens, three] = projections.shape as [number, number];
  const width = three / 3;
  const [q, k, v] = [0, 1, 2].map((i) => tf.slice(projections, [0, i * width], [tokens, width])) as [Tensor2D, Tensor2D, Tensor2D]; // biome-ignore format: one line
  const products = tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(width)); // [tokens, tokens]
  const read = tf.matMul(tf.softmax(hidden ? tf.add(products, hidden) : products) as Tensor2D, v);
  return tf.add(tf.matMul(read as Tensor2D, out as Tensor2D, false, true), bias);
}
