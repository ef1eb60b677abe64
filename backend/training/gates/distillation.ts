import type { Tensor } from "@tensorflow/tfjs";
import { vectorJacobian } from "../../models/backward/taps.ts";
import type { Model } from "../../models/model.ts";
import { normalise } from "../../models/transformer/block.ts";
import { UNHOOKED } from "../../models/transformer/hook.ts";
import { gatherRows, sumRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";

/** A loss, and its gradient with respect to the stream behind the last layer, alike in shape; the caller disposes it. */
export interface EndLoss {
  loss: number;
  gradient: Tensor;
}

/**
 * Distance of a changed run from the model's own, as DuoAttention's code has it: the mean over some positions, and over the width, of
 * the squared difference of the last hidden states, behind the final norm.
 * @param full stream behind the last layer of the model's own run [tokens, d_model] @param changed of the other run, alike
 * @param places the positions, in [0, tokens)
 */
export function distillation(
  { weights, config }: Model,
  { full, changed, places }: { full: Tensor; changed: Tensor; places: readonly number[] },
): EndLoss {
  const hidden = (x: Tensor): Tensor =>
    config.final_norm ? normalise(x, weights.lnFinal, "ln_final", { config, hook: UNHOOKED }) : x;
  let loss = 0;
  const gradient = tf.tidy(() => {
    const index = tf.tensor1d([...places], "int32");
    const target = hidden(gatherRows(full, index));
    const own = gatherRows(changed, index); // [places, d_model]
    const distance = (x: Tensor): Tensor => tf.mean(tf.square(tf.sub(hidden(x), target)));
    loss = distance(own).dataSync()[0]!;
    const [dx] = vectorJacobian(distance, [own], tf.scalar(1));
    return sumRows(dx!, index, changed.shape[0]!);
  });
  return { loss, gradient };
}
