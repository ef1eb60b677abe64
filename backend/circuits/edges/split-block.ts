import type { Tensor } from "@tensorflow/tfjs";
import { ungrouped } from "../../models/backward/head-inputs.ts";
import { attendPrefill } from "../../models/transformer/attention.ts";
import {
  type Block,
  mlpOutput,
  normalise,
  normaliseHeads,
  type Rotation,
  rotate,
} from "../../models/transformer/block.ts";
import { UNHOOKED } from "../../models/transformer/hook.ts";
import type { BlockWeights } from "../../models/weights/block-parts.ts";
import { tf } from "../../runtime/tf.ts";

/** Rows of tokens that go through a block together. */
export interface RowExtent {
  rows: number;
  positions: number;
  /** Keys that a query reaches where the layer's attention is local. */
  local: number | undefined;
}

/** The output of a layer's attention as it is added to the stream. */
export interface HeadOutputs {
  /** Of each head, behind a norm that follows attention: its share of it [rows, heads, positions, d_model]. */
  heads: Tensor;
  /** The part of no head: the output bias, behind the norm [rows, positions, d_model]; absent where there is none. */
  rest?: Tensor | undefined;
}

/**
 * Attention whose heads read inputs of their own: the equations of a block's first half with a copy of the stream for the
 * queries, keys and values of every query head. Where query heads share a KV head, each has its own copy of that as well.
 * @param inputs [rows, 3 heads, positions, d_model]: of the queries of all heads, then of keys, then of values
 * @param rotation cosines and sines of all rows' positions [rows * positions, 1, rotary_dim], where the model rotates
 */
export function splitAttention(
  inputs: Tensor,
  rotation: Rotation | undefined,
  block: Block,
  extent: RowExtent,
): HeadOutputs {
  const { weights, config } = ungrouped(block.weights, block.config);
  const { hook } = block;
  const { n_heads: H, d_head: D, d_model } = config;
  const { rows, positions: T, local } = extent;
  const projected = projections(inputs, { weights, config }); // [3 heads, rows * positions, d_head]
  const part = (first: number): Tensor =>
    tf.transpose(tf.slice(projected, [first * H, 0, 0], [H, rows * T, D]), [1, 0, 2]); // [rows * positions, heads, d_head]
  const turned = (x: Tensor): Tensor => (rotation ? rotate(x, rotation, config) : x);
  const heads = {
    q: turned(normaliseHeads(part(0), weights.qNorm, config)),
    k: turned(normaliseHeads(part(1), weights.kNorm, config)),
    v: part(2),
  };
  const view = (x: Tensor): Tensor => tf.reshape(x, [rows, T, H, D]);
  const tokens = {
    q: view(heads.q),
    k: view(heads.k),
    v: view(heads.v),
    position: tf.tensor2d(Array.from({ length: T }, (_, t) => [t])),
    valid: tf.ones([T, 1]),
    extra: weights,
    local,
  };
  const [mixed] = attendPrefill(tokens, [], config, hook); // [rows, positions, heads, d_head]
  const z = hook("attn.hook_z", tf.reshape(mixed, [rows * T, H, D]));
  const byHead = tf.transpose(z, [1, 0, 2]);
  const w = tf.transpose(tf.reshape(weights.o.widen(), [d_model, H, D]), [1, 0, 2]); // [heads, d_model, d_head]
  const written = tf.reshape(tf.matMul(byHead, w, false, true), [H, rows, T, d_model]);
  return behindNorm(rows === 1 ? tf.reshape(written, [1, H, T, d_model]) : tf.transpose(written, [1, 0, 2, 3]), block);
}

/** Queries, keys and values of every query head. @returns [3 heads, rows * positions, d_head] */
function projections(inputs: Tensor, { weights, config }: Omit<Block, "hook">): Tensor {
  const { n_heads: H, d_head: D, d_model } = config;
  const [rows, , T] = inputs.shape as [number, number, number, number];
  const normed = normalise(inputs, weights.ln1, "ln1", { config, hook: UNHOOKED });
  const byHead = tf.reshape(rows === 1 ? normed : tf.transpose(normed, [1, 0, 2, 3]), [3 * H, rows * T, d_model]);
  const out = tf.matMul(byHead, tf.reshape(weights.qkv.widen(), [3 * H, D, d_model]), false, true);
  return weights.qkvBias ? tf.add(out, tf.reshape(weights.qkvBias, [3 * H, 1, D])) : out;
}

/**
 * The heads' outputs behind the norm that follows attention, if any. It acts on their sum, so they share its scale and add up, with
 * the rest, to what attention adds to the stream.
 * @param written by each head [rows, heads, positions, d_model]
 */
export function behindNorm(written: Tensor, { weights, config }: Omit<Block, "hook">): HeadOutputs {
  const { oBias, ln1Post } = weights;
  if (!ln1Post || config.normalization_type === null) return { heads: written };
  const layerNorm = config.normalization_type === "LN";
  const centre = (x: Tensor): Tensor => (layerNorm ? tf.sub(x, tf.mean(x, -1, true)) : x);
  const sum = tf.sum(written, 1, true); // [rows, 1, positions, d_model]
  const whole = centre(oBias ? tf.add(sum, oBias) : sum);
  const scale = tf.mul(tf.rsqrt(tf.add(tf.mean(tf.square(whole), -1, true), config.eps)), ln1Post.w);
  const bias = oBias && tf.squeeze(tf.mul(centre(tf.reshape(oBias, [1, 1, 1, -1])), scale), [1]);
  // The norm's own offset is the same in every run, so it takes no part in differences between them.
  return { heads: tf.mul(centre(written), scale), rest: bias };
}

/** The output of an MLP that reads an input of its own, behind a norm that follows it. @param input [n, d_model] @returns alike */
export function splitMlp(input: Tensor, { weights, config, hook }: Block): Tensor {
  const written = mlpOutput(input, { weights, config, hook });
  return hook("hook_mlp_out", normalise(written, weights.ln2Post, "ln2_post", { config, hook: UNHOOKED }));
}

/** The weights of a block by the half that reads them. */
export function halves(block: BlockWeights): { attention: BlockWeights; mlp: BlockWeights } {
  const { ln1, qkv, qkvBias, qNorm, kNorm, keyBias, valueBias, sinkLogit, o, oBias, ln1Post, ...mlp } = block;
  const attention = { ln1, qkv, qkvBias, qNorm, kNorm, keyBias, valueBias, sinkLogit, o, oBias, ln1Post };
  return { attention, mlp: mlp as unknown as BlockWeights };
}
