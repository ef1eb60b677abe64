import type { Tensor2D } from "@tensorflow/tfjs";
import { tf } from "../../../runtime/tf.ts";
import type { RecurrentMixer } from "./mixer.ts";

/**
 * A state whose step the token decides: step = softplus(W x + b), the share exp(-step (h + 1) exp(decay_h)) is kept, and step times the
 * token's own is written. A of head h is -(h + 1) exp(decay_h) times the identity.
 */
export const selective: RecurrentMixer = {
  name: "selective",
  title: "a selective state space",
  source: "Gu and Dao 2023, Mamba, algorithm 2; Dao and Gu 2024, Transformers are SSMs, section 7 (A a number a head)",
  gateWeights: ["step", "stepBias"],
  gates(x, weights, { n_heads: H }) {
    const step = tf.softplus(
      tf.add(tf.matMul(x as Tensor2D, weights.step!.widen() as Tensor2D, false, true), weights.stepBias!),
    ); // [tokens, heads]
    const rates = tf.tensor1d(Array.from({ length: H }, (_, h) => -(h + 1)));
    return { step, logDecay: tf.mul(step, tf.mul(tf.exp(weights.decay!), rates)) };
  },
};
