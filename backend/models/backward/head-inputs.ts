import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../runtime/tf.ts";
import { headShape, type ModelConfig } from "../config.ts";
import type { Window } from "../transformer/attention.ts";
import { projectionRows } from "../transformer/block.ts";
import type { BlockWeights, NormWeights } from "../weights/block-parts.ts";
import { Matrix } from "../weights/matrix.ts";

/** Hook points at which every head has a copy of the stream of its own. */
export const HEAD_INPUT_HOOKS = ["hook_attn_in", "hook_q_input", "hook_k_input", "hook_v_input"] as const;
/** Hook points of queries, keys and values as they are projected. */
export const PROJECTED = ["attn.hook_q", "attn.hook_k", "attn.hook_v"] as const;

/** A block's weights in which every query head has keys and values of its own, equal to those of its group, and its config. */
export function ungrouped(weights: BlockWeights, config: ModelConfig): { weights: BlockWeights; config: ModelConfig } {
  const { queries: H, keys, values } = headShape(config);
  if (H === keys && H === values) return { weights, config };
  /** @param t [heads * width, ...] @returns [H * width, ...] */
  const repeated = (t: Tensor, heads: number): Tensor => {
    const [rows, ...rest] = t.shape as [number, ...number[]];
    return tf.reshape(tf.tile(tf.reshape(t, [heads, 1, -1]), [1, H / heads, 1]), [(rows * H) / heads, ...rest]);
  };
  const spread = (t: Tensor): Tensor => {
    const rest = t.shape.slice(1);
    const parts = projectionRows(config).map(({ first, heads, width }) =>
      repeated(tf.slice(t, [first, ...rest.map(() => 0)], [heads * width, ...rest]), heads),
    );
    return tf.concat(parts, 0);
  };
  const { key_heads: _, value_heads: __, ...shared } = config;
  return {
    weights: {
      ...weights,
      qkv: Matrix.dense(spread(weights.qkv.widen())),
      ...(weights.qkvBias ? { qkvBias: spread(weights.qkvBias) } : {}),
      ...(weights.keyBias ? { keyBias: repeated(weights.keyBias, keys) } : {}),
      ...(weights.valueBias ? { valueBias: repeated(weights.valueBias, values) } : {}),
      ...(weights.kNorm && config.qk_norm === "all" ? { kNorm: repeated(weights.kNorm, keys) } : {}),
    },
    config: { ...shared, n_key_value_heads: H },
  };
}

/** Windows by query head of windows by KV head. */
export function ungroupedWindows(
  windows: readonly (Window | undefined)[] | undefined,
  { n_heads: H, n_key_value_heads: G }: ModelConfig,
): readonly (Window | undefined)[] | undefined {
  return windows?.flatMap((window) => new Array<Window | undefined>(H / G).fill(window));
}

/**
 * Gradients with respect to each head's own copy of the stream, from those of its queries, keys and values: back through its rows of
 * the projection and through the norm, whose statistics all copies share.
 * @param x stream before the block [tokens, d_model] @param projected gradients of queries, keys and values [tokens, heads, width] each
 * @returns [heads of queries, then of keys, then of values, tokens, d_model]
 */
export function headInputGradients(
  x: Tensor,
  projected: readonly Tensor[],
  { weights, config }: { weights: BlockWeights; config: ModelConfig },
): Tensor {
  const { d_model } = config;
  const wide = weights.qkv.widen();
  const parts = projectionRows(config).map(({ first, heads, width }, i) => {
    const W = tf.reshape(tf.slice(wide, [first, 0], [heads * width, d_model]), [heads, width, d_model]);
    return tf.matMul(tf.transpose(projected[i]!, [1, 0, 2]), W); // [heads, tokens, d_model]
  });
  return normGradient(x, tf.concat(parts, 0), weights.ln1, config);
}

/**
 * Gradient with respect to the input of a normalisation.
 * @param x input [tokens, d_model] @param dy gradients of its output [..., tokens, d_model] @returns alike
 */
function normGradient(x: Tensor, dy: Tensor, norm: NormWeights | undefined, config: ModelConfig): Tensor {
  if (config.normalization_type === null || !norm) return dy;
  const layerNorm = config.normalization_type === "LN";
  const centred = layerNorm ? tf.sub(x, tf.mean(x, -1, true)) : x;
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), config.eps)); // [tokens, 1]
  const normed = tf.mul(centred, inverse);
  const inner = tf.mul(dy, norm.w);
  const along = tf.mul(normed, tf.mean(tf.mul(inner, normed), -1, true));
  const across = layerNorm ? tf.sub(inner, tf.mean(inner, -1, true)) : inner;
  return tf.mul(inverse, tf.sub(across, along));
}
