import type { Tensor, Tensor2D } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { embedRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { headShape, localWindow, type ModelConfig } from "../config.ts";
import { flattenEnd, type Weights } from "../weights/weights.ts";
import { attend } from "./attention.ts";
import {
  type Block,
  blockOutput,
  type DecodedEnd,
  decode,
  normalise,
  normaliseHeads,
  projectionRows,
  type Rotation,
  rotate,
  unembed,
} from "./block.ts";
import { UNHOOKED } from "./hook.ts";
import { recurrenceOf } from "./mixers/index.ts";
import { afterFirst, behindPrompt } from "./soft-prompt.ts";
import { type BlockTokens, wholeBlock } from "./whole-block.ts";

/** Input of a training forward. */
export interface TrainingInput {
  /** Token ids int32 [rows * positions], or vectors [rows * positions, d_input]. */
  read: Tensor;
  rows: number;
  positions: number;
  /** Cosines and sines of the positions, those of a soft prompt first, tiled over the rows [rows * all positions, 1, rotary_dim], where the model rotates. */
  rotation?: Rotation | undefined;
  /** The same of local layers; default as the others'. */
  rotationLocal?: Rotation | undefined;
  /** Positions whose outputs are wanted: every one of the input, or the last of each row. */
  scored: "all" | "last";
}

/**
 * The whole forward as one expression of tensors, from the same parts as `forward`: what a training step differentiates.
 * @returns logits [rows * scored, outputs]; of a model with a bottleneck both its sides too
 */
export function trainingForward(
  config: ModelConfig,
  weights: Weights,
  input: TrainingInput,
): Pick<DecodedEnd, "logits"> & Partial<DecodedEnd> {
  const { rows, positions, rotation, rotationLocal = rotation } = input;
  if (config.rotary_local && !input.rotationLocal)
    throw new HeadscopeError("unsupported", "local layers of this model rotate in their own way, which is not given", {
      remedy: "give rotationLocal, or train a model without rotary_local",
    });
  const { d_model } = config;
  let x = weights.embedBias
    ? tf.add(weights.embed.apply(input.read), weights.embedBias)
    : embedRows(weights.embed.widen(), input.read); // [rows * positions, d_model]
  if (config.embed_scale !== undefined) x = tf.mul(x, config.embed_scale);
  const embedding = x;
  if (weights.posEmbed) {
    const own = tf.slice(weights.posEmbed.widen(), [0, 0], [positions, d_model]);
    x = tf.reshape(tf.add(tf.reshape(x, [rows, positions, d_model]), own), [rows * positions, d_model]);
  }
  const count = config.soft_prompt ?? 0;
  if (weights.softPrompt) x = behindPrompt(x, weights.softPrompt.widen(), rows);
  const T = count + positions;
  weights.blocks.forEach((own, l) => {
    const block = { weights: own, config, hook: UNHOOKED };
    // A bottleneck codes the stream at the position before.
    const last = input.scored === "last" && l === weights.blocks.length - 1 && !config.bottleneck;
    const local = localWindow(config, l);
    const turn = local === undefined ? rotation : rotationLocal;
    const recurrence = recurrenceOf(config, l);
    const tokens = { rows, positions: T, local, recurrence };
    if (!last) x = wholeBlock(x, turn, block, tokens);
    else if (recurrence) x = lastOf(wholeBlock(x, turn, block, tokens), tokens);
    else x = lastBlock(x, turn, block, tokens);
  });
  if (count > 0 && input.scored === "all") x = afterFirst(x, { rows, count });
  const end = flattenEnd(weights);
  const own = end.over(end.handles);
  if (!config.bottleneck) return { logits: unembed(x, own, config, UNHOOKED) };
  const read = tf.concat([before(x, input), embedding], -1); // [rows * positions, 2 d_model]
  return decode(input.scored === "last" ? lastOf(read, input) : read, own, config, UNHOOKED);
}

/** The stream one position earlier; the first position of a row keeps its own. @param x [rows * positions, d_model] @returns alike */
function before(x: Tensor, { rows, positions: T }: BlockTokens): Tensor {
  const all = tf.reshape(x, [rows, T, -1]);
  const width = all.shape[2]!;
  const first = tf.slice(all, [0, 0, 0], [rows, 1, width]);
  return tf.reshape(tf.concat([first, tf.slice(all, [0, 0, 0], [rows, T - 1, width])], 1), x.shape);
}

/** The last position of each row. @param t [rows * positions, ...] @returns [rows, ...] */
function lastOf(t: Tensor, { rows, positions: T }: BlockTokens): Tensor {
  const rest = t.shape.slice(1);
  const all = tf.reshape(t, [rows, T, ...rest]);
  return tf.reshape(tf.slice(all, [0, T - 1, ...rest.map(() => 0)], [rows, 1, ...rest]), [rows, ...rest]);
}

/**
 * The last block where only the last position's output is wanted: keys and values of all positions, all else of the last.
 * @param x [rows * positions, d_model] @returns [rows, d_model]
 */
function lastBlock(x: Tensor, rotation: Rotation | undefined, block: Block, tokens: BlockTokens): Tensor {
  const { rows, positions: T, local } = tokens;
  const { weights, config, hook } = block;
  const { queries: H, keys, values, keyWidth, valueWidth } = headShape(config);
  const [ofQuery, ofKey, ofValue] = projectionRows(config);
  const normed = normalise(x, weights.ln1, "ln1", block);
  const project = (source: Tensor, first: number, size: number): Tensor => {
    const weight = tf.slice(weights.qkv.widen(), [first, 0], [size, config.d_model]);
    const out = tf.matMul(source as Tensor2D, weight as Tensor2D, false, true); // [tokens, size]
    return weights.qkvBias ? tf.add(out, tf.slice(weights.qkvBias, [first], [size])) : out;
  };
  const turn = (t: Tensor, by: Rotation | undefined): Tensor => (by ? rotate(t, by, config) : t);
  const own = rotation && { cos: lastOf(rotation.cos, tokens), sin: lastOf(rotation.sin, tokens) };
  const keysAndValues = project(normed, ofKey!.first, keys * keyWidth + values * valueWidth);
  const [k, v] = [ofKey!, ofValue!].map(({ first, heads, width }) => {
    const own = tf.slice(keysAndValues, [0, first - ofKey!.first], [rows * T, heads * width]);
    return tf.reshape(own, [rows * T, heads, width]);
  });
  const last = tf.reshape(project(lastOf(normed, tokens), ofQuery!.first, H * keyWidth), [rows, H, keyWidth]);
  const query = normaliseHeads(last, weights.qNorm, config);
  const key = normaliseHeads(k!, weights.kNorm, config);
  const reached = Array.from({ length: T }, (_, t) => (local === undefined || T - 1 - t < local ? 0 : -1e9));
  const inputs = {
    q: tf.reshape(turn(query, own), [rows, 1, H, keyWidth]),
    k: tf.reshape(turn(key, rotation), [rows, T, keys, keyWidth]),
    v: tf.reshape(v!, [rows, T, values, valueWidth]),
    mask: tf.tensor2d([reached]),
    extra: weights,
  };
  const { z } = attend(inputs, config, hook);
  return blockOutput(lastOf(x, tokens), tf.reshape(z, [rows, H * valueWidth]), block);
}
