import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { streamLogits } from "../../backend/circuits/loss.ts";
import { HeadscopeError } from "../../backend/common/errors.ts";
import { forwardInTurns } from "../../backend/models/forward/turns.ts";
import type { Model } from "../../backend/models/model.ts";
import { encodeText } from "../../backend/models/tokens.ts";
import { blockHook } from "../../backend/models/transformer/hook-points.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { loopTurn } from "../../backend/runtime/turn.ts";
import type { MeasurementMeans } from "../base.ts";

/** Schema of a text's readings through the logit lens. */
export const lensValues = z.object({
  /** The tokens that follow [positions]. */
  targets: z.array(z.int()),
  /** By number of layers that have run, from 0 to all: the likeliest token [layers + 1][positions]. */
  likeliest: z.array(z.array(z.int())),
  /** Its probability [layers + 1][positions]. */
  confidence: z.array(z.array(z.number())),
});
/** A text's readings through the logit lens. */
export type LensValues = z.output<typeof lensValues>;

/**
 * Reads the stream of every token after every number of layers, as if the model ended there.
 * @param tokens of the text that are read
 * @throws HeadscopeError (usage) for a text of fewer tokens
 * @see nostalgebraist 2020, interpreting GPT: the logit lens
 */
export async function lensReadings(
  model: Model,
  { text, tokens: count }: { text: string; tokens: number },
  { progress, signal }: MeasurementMeans,
): Promise<LensValues> {
  const ids = encodeText(model, text);
  if (ids.length < count + 1)
    throw new HeadscopeError("usage", `a text has ${ids.length} tokens of ${model.ref}, ${count + 1} are needed`, {
      remedy: `give tokens=${ids.length - 1} or less`,
      field: "tokens",
    });
  const { n_layers, d_model } = model.config;
  const turn = loopTurn(signal);
  const names = Array.from({ length: n_layers }, (_, layer) => blockHook(layer, "hook_resid_pre"));
  const input = { tokens: [ids.slice(0, count)], logitsAt: "none" as const };
  const run = await forwardInTurns(model, input, { names }, turn);
  const values: LensValues = { targets: ids.slice(1, count + 1), likeliest: [], confidence: [] };
  try {
    const streams = [...names.map((name) => run.activations.get(name)!), run.resid];
    for (const [place, stream] of streams.entries()) {
      const [likeliest, confidence] = tf.tidy((): Tensor[] => {
        const logits = streamLogits(model, tf.reshape(stream, [count, d_model])); // [positions, d_vocab]
        return [tf.argMax(logits, 1), tf.exp(tf.sub(tf.max(logits, 1), tf.logSumExp(logits, 1)))];
      });
      values.likeliest.push([...(await likeliest!.data())]);
      values.confidence.push([...(await confidence!.data())]);
      tf.dispose([likeliest!, confidence!]);
      progress(place + 1, streams.length);
      await turn();
    }
    return values;
  } finally {
    run.dispose();
  }
}
