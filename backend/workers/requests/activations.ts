import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import type { Model } from "../../models/model.ts";
import { activationWidth, checkHookName, isPattern } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { handler } from "../handler.ts";
import { type Pacing, withForward } from "../prompt-runs.ts";
import { pacingOf, session } from "../session.ts";
import { checkAnswer, look, PATTERN_AXES, reply, sliceOf, streamAxes } from "../slices.ts";

/** The activation at one hook point [positions, ...] or [heads, query, key], or a part of it. */
export const request = handler({
  payload: z.strictObject({ ...look, hook: z.string() }),
  async run({ model: ref, ids, hook, slice, most }, context) {
    const model = await session.models.open(ref, context.signal);
    checkHookName(model.config, hook);
    const width = activationWidth(model.config, hook);
    const shape = isPattern(hook) ? [...width, ids.length, ids.length] : [ids.length, ...width];
    const axes = isPattern(hook) ? PATTERN_AXES : streamAxes(shape.length);
    checkAnswer(shape, axes, slice, most);
    const part = await activation(model, ids, { hook, ...pacingOf(context) }, (whole) => {
      return sliceOf(tf.reshape(whole, whole.shape.slice(1)), axes, slice);
    });
    try {
      return reply(hook, part, slice.dtype, model.digest);
    } finally {
      part.dispose();
    }
  },
});

/** Positions whose logits are held at a time where the final norm is looked at. */
const ENDS = 256;

/** Runs what is needed to see a hook point: one block, the embedding, or the final norm. */
async function activation(
  model: Model,
  ids: readonly number[],
  { hook, ...pacing }: Pacing & { hook: string },
  use: (whole: Tensor) => Tensor,
): Promise<Tensor> {
  const { n_layers, d_model } = model.config;
  const whole = (activations: ReadonlyMap<string, Tensor>): Tensor => use(activations.get(hook)!);
  const block = /^blocks\.(\d+)\./.exec(hook)?.[1];
  if (block !== undefined)
    return session.runs.atLayer(model, ids, { layer: Number(block), names: [hook], ...pacing }, whole);
  if (!hook.startsWith("ln_final."))
    return withForward(model, { tokens: [ids], stopLayer: 0, logitsAt: "none" }, [hook], whole);
  return session.runs.withStream(model, ids, { layer: n_layers, ...pacing }, (resid) =>
    tf.tidy(() => {
      const parts: Tensor[] = [];
      for (let first = 0; first < ids.length; first += ENDS) {
        const some = tf.slice(resid, [0, first, 0], [1, Math.min(ENDS, ids.length - first), d_model]);
        parts.push(withForward(model, { resid: some, startLayer: n_layers }, [hook], (a) => tf.clone(a.get(hook)!)));
      }
      return use(parts.length === 1 ? parts[0]! : tf.concat(parts, 1));
    }),
  );
}
