import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../../runtime/tf.ts";
import type { AttentionKernel } from "./kernel.ts";
import { shares } from "./shares.ts";

/** An even power of each score over their sum ("Power-Softmax"): polynomials and one division, without exponentials. */
export const polynomial: AttentionKernel = {
  name: "polynomial",
  title: "polynomial attention",
  source: "Zimerman et al. 2024, Power-Softmax: Towards Secure LLM Inference over Encrypted Data",
  fused: false,
  normalised: true,
  weigh: (scores, { attention_power = 2 }) => shares(evenPower(scores, attention_power), scores),
};

/** @param power even, at least 2 */
function evenPower(x: Tensor, power: number): Tensor {
  const square = tf.square(x);
  return Array.from({ length: power / 2 - 1 }).reduce<Tensor>((product) => tf.mul(product, square), square);
}
