import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../runtime/tf.ts";
import { headShape } from "../config.ts";
import { attendPrefill, type PrefillInputs } from "./attention.ts";
import { attentionInput, type Block, blockOutput, type Rotation } from "./block.ts";
import type { RecurrentMixer } from "./mixers/mixer.ts";
import { recur } from "./mixers/recur.ts";

/** Tokens of several rows that go through a block together, and the keys that their queries reach. */
export interface BlockTokens extends Pick<PrefillInputs, "keyMask" | "windows" | "local"> {
  rows: number;
  /** Of a row. */
  positions: number;
  /** The layer's recurrence, where it has one in attention's place. */
  recurrence?: RecurrentMixer | undefined;
}

/**
 * A block over all positions as one expression of tensors: what a gradient goes back through.
 * @param x residual stream before it [rows * positions, d_model] @returns behind it, alike
 */
export function wholeBlock(x: Tensor, rotation: Rotation | undefined, block: Block, tokens: BlockTokens): Tensor {
  const { config, hook } = block;
  const { queries: H, valueWidth } = headShape(config);
  const { rows, positions: T, recurrence, ...reach } = tokens;
  if (recurrence) return blockOutput(x, recur(x, recurrence, block, tokens), block);
  const [q, k, v] = attentionInput(x, rotation, block);
  const prefill = {
    q: byRow(q, rows),
    k: byRow(k, rows),
    v: byRow(v, rows),
    position: tf.tensor2d(Array.from({ length: T }, (_, t) => [t])),
    valid: tf.ones([T, 1]),
    extra: block.weights,
    ...reach,
  };
  const [z] = attendPrefill(prefill, [], config, hook);
  return blockOutput(x, tf.reshape(z, [rows * T, H * valueWidth]), block);
}

/** [rows * tokens, heads, width] -> [rows, tokens, heads, width] */
export function byRow(t: Tensor, rows: number): Tensor {
  return tf.reshape(t, [rows, -1, ...t.shape.slice(1)]);
}
