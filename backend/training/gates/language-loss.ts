import type { Tensor } from "@tensorflow/tfjs";
import { vectorJacobian } from "../../models/backward/taps.ts";
import type { Model } from "../../models/model.ts";
import { unembed } from "../../models/transformer/block.ts";
import { UNHOOKED } from "../../models/transformer/hook.ts";
import { flattenEnd } from "../../models/weights/weights.ts";
import { gatherRows, sumRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import type { EndLoss } from "./distillation.ts";

/**
 * The mean cross-entropy of some tokens given those before them, in nats.
 * @param stream behind the last layer [tokens, d_model] @param places of the tokens, from 1 on
 */
export function languageLoss(
  { weights, config }: Model,
  { stream, ids, places }: { stream: Tensor; ids: readonly number[]; places: readonly number[] },
): EndLoss {
  let loss = 0;
  const gradient = tf.tidy(() => {
    const index = tf.tensor1d(
      places.map((place) => place - 1),
      "int32",
    );
    const own = gatherRows(stream, index); // [places, d_model]
    // Gradients go through float32.
    const { unembed: matrix } = weights;
    const end = flattenEnd(weights, matrix.widensFor(Number.POSITIVE_INFINITY) ? matrix.dense(matrix.widen()) : matrix);
    const width = config.d_vocab_out ?? config.d_vocab;
    const wanted = tf.oneHot(
      tf.tensor1d(
        places.map((place) => ids[place]!),
        "int32",
      ),
      width,
    );
    const entropy = (x: Tensor): Tensor => {
      const logits = unembed(x, end.over(end.handles), config, UNHOOKED); // [places, outputs]
      return tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), tf.cast(wanted, "float32")), -1)));
    };
    loss = entropy(own).dataSync()[0]!;
    const [dx] = vectorJacobian(entropy, [own], tf.scalar(1));
    return sumRows(dx!, index, stream.shape[0]!);
  });
  return { loss, gradient };
}
