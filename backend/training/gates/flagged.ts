import type { Tensor } from "@tensorflow/tfjs";
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
}

/** Weight that a query without any key left is given, so that nothing is divided by 0. */
const NOTHING = 1e-20;
/** Largest size of a flag's gradient: that of a query of which nearly nothing is left has no bound. */
const MOST = 1;

/**
 * Attention in which tokens behind a prompt see of the prompt what the layer's gate lets stay; the prompt sees itself whole, as it does
 * where a policy cuts at its end. The gates are project, out and bias of one `AttentionGate`; rows are one. A flag is 0 or 1, and its gradient
 * that of the gate's sigmoid (straight through).
 */
export function flaggedAttention({ threshold, retention, weight }: FlaggedSettings): GatedAttention {
  return {
    key: `flagged ${threshold} ${retention} ${weight}`,
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
      const behind = tf.reshape(tf.sub(1, prompt!), [1, 1, T, 1]);
      const left = tf.sub(1, tf.mul(behind, byHead)); // [1, heads, query, key]
      const [z] = attendPrefill(
        tokens,
        [],
        config,
        onPattern((pattern) => renormalised(tf.mul(pattern, left))),
      );
      return { z, penalty: tf.mul(tf.abs(tf.sub(share, retention)), weight) };
    },
  };
}

function renormalised(pattern: Tensor): Tensor {
  return tf.div(pattern, tf.add(tf.sum(pattern, -1, true), NOTHING));
}

/** 1 where a gate reaches the threshold, else 0; the gradient passes through as if it were the gate, up to a size. */
function flag(gates: Tensor, threshold: number): Tensor {
  return tf.customGrad((...args: (Tensor | ((saved: Tensor[]) => void))[]) => ({
    value: tf.cast(tf.greaterEqual(args[0] as Tensor, threshold), "float32"),
    gradFunc: (dy: Tensor) => [tf.clipByValue(dy, -MOST, MOST)],
  }))(gates);
}

/** Hook points of which the pattern's alone changes anything. */
function onPattern(change: (pattern: Tensor) => Tensor): Hook {
  const isPattern = (name: string): boolean => name === "attn.hook_pattern";
  const point = (name: string, activation: Tensor): Tensor => (isPattern(name) ? change(activation) : activation);
  return Object.assign(point, { wants: isPattern, changes: isPattern });
}
