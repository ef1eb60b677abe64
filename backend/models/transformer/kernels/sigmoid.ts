import { tf } from "../../../runtime/tf.ts";
import type { AttentionKernel } from "./kernel.ts";

/** The sigmoid of each score by itself: no key's weight depends on another's. */
export const sigmoid: AttentionKernel = {
  name: "sigmoid",
  title: "sigmoid attention without normalisation",
  source: "Gu et al. 2025, When Attention Sink Emerges in Language Models, table 6",
  fused: false,
  normalised: false,
  weigh: (scores) => tf.sigmoid(scores),
};

/** Sigmoids of the scores over their sum, as a softmax of their logarithms, which is finite for scores of any size. */
export const sigmoidNormalised: AttentionKernel = {
  ...sigmoid,
  name: "sigmoid-normalised",
  title: "sigmoid attention with normalisation",
  normalised: true,
  // The logarithm of a sigmoid by softplus: tf.logSigmoid frees what a recorded gradient needs.
  weigh: (scores) => tf.softmax(tf.neg(tf.softplus(tf.neg(scores)))),
};
