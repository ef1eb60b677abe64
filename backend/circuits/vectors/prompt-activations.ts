import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { allFinite, notFinite } from "../../hooks/finite.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Model } from "../../models/model.ts";
import { tf } from "../../runtime/tf.ts";
import type { Turn } from "../../runtime/turn.ts";

/** Prompts to read, and where. */
export interface PromptActivationsOptions {
  readonly prompts: readonly (readonly number[])[];
  /** Position that is read, negative ones from each prompt's end; "mean": the mean over all. */
  readonly position: number | "mean";
  /** Label of the progress. */
  readonly label: string;
  readonly progress?: ((done: number, total: number, label: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly turn: Turn;
}

/**
 * The activations of prompts at a position.
 * @param names hook names of streams
 * @returns by hook name and prompt [d_model]
 * @throws HeadscopeError for a position that a prompt does not have, and activations that are no numbers
 */
export async function promptActivations(
  model: Model,
  names: readonly string[],
  { prompts, position, label, progress, signal, turn }: PromptActivationsOptions,
): Promise<Float32Array[][]> {
  const vectors = names.map(() => [] as Float32Array[]);
  const onLayer = (): void => signal?.throwIfAborted();
  for (const [e, tokens] of prompts.entries()) {
    const place = placeIn(tokens, position, e);
    const run = await forwardInTurns(model, { tokens: [tokens], logitsAt: "none" }, { names, onLayer }, turn);
    names.forEach((name, i) => {
      const vector = tf.tidy(() => at(run.activations.get(name)!, place));
      vectors[i]!.push(vector.dataSync() as Float32Array);
      vector.dispose();
    });
    run.dispose();
    if (!vectors.every((own) => allFinite(own[e]!))) throw notFinite(model, "the activations", [tokens]);
    progress?.(e + 1, prompts.length, label);
    await turn();
  }
  return vectors;
}

/** A stream at a place, or its mean over all. @param stream [1, positions, d_model] @returns [d_model] */
function at(stream: Tensor, place: number | "mean"): Tensor {
  const rows = tf.squeeze(stream, [0]);
  return place === "mean" ? tf.mean(rows, 0) : tf.squeeze(tf.slice(rows, place, 1), [0]);
}

function placeIn({ length }: readonly number[], position: number | "mean", example: number): number | "mean" {
  if (position === "mean") return position;
  const place = position < 0 ? length + position : position;
  if (place >= 0 && place < length) return place;
  throw new HeadscopeError("usage", `example ${example} has ${length} tokens, none at position ${position}`, {
    remedy: "choose a position that every example has, such as -1",
    field: "position",
  });
}
