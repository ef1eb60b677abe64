import { tf } from "../../../runtime/tf.ts";
import type { RecurrentMixer } from "./mixer.ts";

/** Head h begins by forgetting about a share 2^-(5 + h) at every token. */
const FIRST_RATE = 5;

/** A state that decays alike at every token: the share exp(-2^-(5 + h) exp(decay_h)) is kept. */
export const linearRecurrence: RecurrentMixer = {
  name: "linear-recurrence",
  title: "a linear recurrence",
  source: "Sun et al. 2023, Retentive Network, equations 5 to 8",
  gateWeights: [],
  gates(x, weights, { n_heads: H }) {
    const rates = tf.tensor1d(Array.from({ length: H }, (_, h) => -(2 ** -(FIRST_RATE + h))));
    const logDecay = tf.mul(tf.exp(weights.decay!), rates); // [heads]
    return { logDecay: tf.tile(tf.reshape(logDecay, [1, H]), [x.shape[0]!, 1]) };
  },
};
