import type { Tensor } from "@tensorflow/tfjs";
import { allFinite, notFinite } from "../../hooks/finite.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Model } from "../../models/model.ts";
import { tf } from "../../runtime/tf.ts";
import type { Interrupts } from "../batches.ts";

/**
 * The activation of some rows at a hook point, heads side by side.
 * @param tokens rows of token ids, of any lengths
 * @returns [rows, positions, width], filled up with zeros; the caller disposes it
 * @throws HeadscopeError (input) for activations that are no numbers
 */
export async function activationAt(
  model: Model,
  tokens: readonly (readonly number[])[],
  hook: string,
  { onLayer, turn }: Interrupts,
): Promise<Tensor> {
  const layer = Number(/^blocks\.(\d+)\./.exec(hook)?.[1] ?? 0);
  const input = { tokens, stopLayer: layer + 1, logitsAt: "none" } as const;
  const run = await forwardInTurns(model, input, { names: [hook], onLayer }, turn);
  const activation = tf.tidy(() => {
    const own = run.activations.get(hook)!;
    const [rows, positions] = own.shape as [number, number];
    return tf.reshape(own, [rows, positions, -1]);
  });
  run.dispose();
  if (allFinite(activation.dataSync())) return activation;
  activation.dispose();
  throw notFinite(model, `the activations at ${hook}`, tokens);
}
