import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { tf } from "../../runtime/tf.ts";

/**
 * A gradient with respect to a run's logits: a tensor in their shape, or, where it is 0 at most outputs, by row and wanted
 * position one after the other its values at the other outputs.
 */
export type LogitGradient = Tensor | readonly ReadonlyMap<number, number>[];

/** A gradient at some outputs of every token. */
export interface ChosenOutputs {
  /** int32 [tokens * count] */
  ids: Tensor;
  /** [tokens, count] */
  values: Tensor;
}

/** Frees a gradient that is a tensor. */
export function disposeGradient(gradient: LogitGradient): void {
  if (gradient instanceof tf.Tensor) gradient.dispose();
}

/** @throws HeadscopeError (usage) for a gradient in another shape than the logits, or at outputs that there are not */
export function checkGradient(gradient: LogitGradient, logits: Tensor): void {
  const refuse = (what: string): HeadscopeError =>
    new HeadscopeError("usage", `the logits are [${logits.shape}] and ${what}`, {
      remedy: "give a gradient in the shape of the run's logits",
    });
  if (gradient instanceof tf.Tensor) {
    if (gradient.shape.join() !== logits.shape.join()) throw refuse(`their gradient [${gradient.shape}]`);
    return;
  }
  const [rows, count, outputs] = logits.shape as [number, number, number];
  if (gradient.length !== rows * count) throw refuse(`their gradient is of ${gradient.length} positions`);
  const odd = gradient
    .flatMap((own) => [...own.keys()])
    .find((id) => !(Number.isInteger(id) && id >= 0 && id < outputs));
  if (odd !== undefined) throw refuse(`their gradient at output ${odd}`);
}

/** A gradient as tensors, all tokens at as many outputs; undefined for one in the shape of the logits. The caller disposes them. */
export function chosenOutputs(gradient: LogitGradient): ChosenOutputs | undefined {
  if (gradient instanceof tf.Tensor) return undefined;
  const count = Math.max(1, ...gradient.map(({ size }) => size));
  const entries = gradient.map((own) => [...own, ...new Array<[number, number]>(count - own.size).fill([0, 0])]);
  const column = (i: 0 | 1): number[] => entries.flatMap((own) => own.map((entry) => entry[i]));
  return { ids: tf.tensor1d(column(0), "int32"), values: tf.tensor2d(column(1), [gradient.length, count]) };
}
