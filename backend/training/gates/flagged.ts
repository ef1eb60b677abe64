import type { Tensor } from "@tensorflow/tfjs";
import type { Prefill } from "../../common/words.ts";
import { gateProjections, gateScores } from "../../heads/attention-gate.ts";
import type { ModelConfig } from "../../models/config.ts";
import { attendPrefill } from "../../models/transformer/attention.ts";
import type { Hook } from "../../models/transformer/hook.ts";
import { tf } from "../../runtime/tf.ts";
import type { GatedAttention, GatedInputs } from "./gated-block.ts";

/** Settings of attention over what gates let stay. */
export interface FlaggedSettings {
  /** Least value of a gate with which a token stays. */
  readonly threshold: number;
  /** Share of the prompt's tokens that is to stay, mean over tokens and KV heads of a layer. */
  readonly retention: number;
  /** Weight of the distance from that share, of this layer. */
  readonly weight: number;
  /** "masked": what goes is unseen by later tokens of the prompt too; "dense": the prompt sees itself whole. */
  readonly prefill: Prefill;
}

/**
 * Largest difference by which the score of a key that goes stands above the best of those that stay, as its flag's gradient sees it: a
 * sink's weight beside theirs has no bound.
 */
const ABOVE = 10;
/** Largest size of a flag's gradient. */
const MOST = 1;
/** Score of keys that are not there. */
const NOWHERE = -1e9;

/**
 * Attention in which tokens see of those before them in a prompt what the layer's gate lets stay, and always themselves; with a dense
 * prefill tokens behind the prompt alone. The gates are project, out and bias of one `AttentionGate`; rows are one. A flag is 0 or 1, and
 * its gradient that of the gate's sigmoid (straight through).
 */
export function flaggedAttention({ threshold, retention, weight, prefill }: FlaggedSettings): GatedAttention {
  return {
    key: `flagged ${threshold} ${retention} ${weight} ${prefill}`,
    attend({ stream, prompt, ...tokens }: GatedInputs, [project, out, bias], config: ModelConfig) {
      const [, T, width] = stream.shape as [number, number, number];
      const { n_heads: H, n_key_value_heads: G } = config;
      const projections = gateProjections({ project: project! }, tf.reshape(stream, [T, width]));
      const hidden = tf.reshape(tf.mul(tf.sub(prompt!, 1), 1e9), [1, T]);
      const gates = tf.sigmoid(gateScores({ out: out!, bias: bias! }, projections, hidden)); // [T, KV heads]
      const inside = tf.reshape(prompt!, [T, 1]);
      const share = tf.div(tf.sum(tf.mul(gates, inside)), tf.mul(tf.sum(inside), G));
      const gone = tf.mul(tf.sub(1, flag(gates, threshold)), inside); // [T, KV heads]
      const byHead = tf.reshape(tf.tile(tf.expandDims(tf.transpose(gone), 1), [1, H / G, 1]), [1, H, 1, T]);
      const others = tf.reshape(tf.sub(1, tf.eye(T)), [1, 1, T, T]);
      const blind = prefill === "masked" ? others : tf.reshape(tf.sub(1, prompt!), [1, 1, T, 1]);
      const left = tf.sub(1, tf.mul(blind, byHead)); // [1, heads, query, key]
      const [z] = attendPrefill(tokens, [], config, patternFrom(left));
      return { z, penalty: tf.mul(tf.abs(tf.sub(share, retention)), weight) };
    },
  };
}

/**
 * Softmax over the keys that stay. Its exponents are taken from the best of these, so that what goes may stand as far above them as it
 * likes. @param left 1 for keys that stay, 0 for those that go, broadcastable to the scores [rows, heads, query, key]
 */
function softmaxOver(scores: Tensor, left: Tensor): Tensor {
  const there = tf.add(scores, tf.mul(tf.sub(left, 1), -NOWHERE));
  const best = tf.max(constant(there), -1, true); // a softmax is the same from anywhere
  const weights = tf.mul(tf.exp(tf.minimum(tf.sub(scores, best), ABOVE)), left);
  return tf.div(weights, tf.sum(weights, -1, true));
}

/** A tensor through which no gradient passes. */
function constant(x: Tensor): Tensor {
  return tf.customGrad((...args: (Tensor | ((saved: Tensor[]) => void))[]) => ({
    value: tf.clone(args[0] as Tensor),
    gradFunc: (dy: Tensor) => [tf.zerosLike(dy)],
  }))(x);
}

/** 1 where a gate reaches the threshold, else 0; the gradient passes through as if it were the gate, up to a size. */
function flag(gates: Tensor, threshold: number): Tensor {
  return tf.customGrad((...args: (Tensor | ((saved: Tensor[]) => void))[]) => ({
    value: tf.cast(tf.greaterEqual(args[0] as Tensor, threshold), "float32"),
    gradFunc: (dy: Tensor) => [tf.clipByValue(dy, -MOST, MOST)],
  }))(gates);
}

/** Hook points that look at the scores, and make the pattern of them anew. */
function patternFrom(left: Tensor): Hook {
  const [SCORES, PATTERN] = ["attn.hook_attn_scores", "attn.hook_pattern"];
  let scores: Tensor;
  const point = (name: string, activation: Tensor): Tensor => {
    if (name === SCORES) scores = activation;
    return name === PATTERN ? softmaxOver(scores, left) : activation;
  };
  return Object.assign(point, {
    wants: (name: string) => name === SCORES || name === PATTERN,
    changes: (name: string) => name === PATTERN,
  });
}
