import { tf } from "../../../runtime/tf.ts";
import type { AttentionKernel } from "./kernel.ts";
import { shares } from "./shares.ts";

/** Products of the features elu(x) + 1 over their sum: what a recurrence of fixed size computes as well. */
export const linear: AttentionKernel = {
  name: "linear",
  title: "linear attention",
  source: "Katharopoulos et al. 2020, Transformers are RNNs, section 3.2",
  fused: false,
  normalised: true,
  features: (x) => tf.add(tf.elu(x), 1),
  weigh: (scores) => shares(scores, scores),
};
