import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { headShape } from "../../models/config.ts";
import type { Model } from "../../models/model.ts";
import { blockHook, checkLayer } from "../../models/transformer/hook-points.ts";
import { parameter } from "../../models/weights/parameters.ts";
import { gatherRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { handler } from "../handler.ts";
import { pacingOf, session } from "../session.ts";
import { checkAnswer, look, PATTERN_AXES, reply, sliceOf } from "../slices.ts";

/** The attention pattern of one layer [heads, query, key], or a part of it: one block from the stored residual stream. */
export const request = handler({
  payload: z.strictObject({ ...look, layer: z.int() }),
  async run({ model: ref, ids, layer, slice, most }, context) {
    const model = await session.models.open(ref, context.signal);
    checkLayer(model.config, layer);
    checkAnswer([model.config.n_heads, ids.length, ids.length], PATTERN_AXES, slice, most);
    const [name, value] = [blockHook(layer, "attn.hook_pattern"), blockHook(layer, "attn.hook_v")];
    const names = slice.weighted ? [name, value] : [name];
    const part = await session.runs.atLayer(model, ids, { layer, names, ...pacingOf(context) }, (activations) => {
      const pattern = tf.squeeze(activations.get(name)!, [0]); // [heads, query, key]
      if (!slice.weighted) return sliceOf(pattern, PATTERN_AXES, slice);
      return sliceOf(tf.mul(pattern, writtenNorms(model, layer, activations.get(value)!)), PATTERN_AXES, slice);
    });
    try {
      return reply(name, part, slice.dtype, model.digest);
    } finally {
      part.dispose();
    }
  },
});

/**
 * The norm of what each key's value writes into the residual stream through each query head's part of W_O.
 * @param values [1, positions, value heads, value width]
 * @returns [heads, 1, key]
 * @see Kobayashi et al. 2020, Attention is Not Only a Weight
 */
function writtenNorms(model: Model, layer: number, values: Tensor): Tensor {
  const { queries: H, values: G, valueWidth } = headShape(model.config, layer);
  const positions = values.shape[1]!;
  const byHead = tf.reshape(tf.transpose(values, [0, 2, 1, 3]), [G, positions * valueWidth]);
  const group = Array.from({ length: H }, (_, h) => Math.floor((h * G) / H));
  const shared = tf.reshape(gatherRows(byHead, tf.tensor1d(group, "int32")), [H, positions, valueWidth]);
  const written = tf.matMul(shared, parameter(model, blockHook(layer, "attn.W_O"))); // [heads, key, d_model]
  return tf.reshape(tf.sqrt(tf.sum(tf.square(written), 2)), [H, 1, positions]);
}
