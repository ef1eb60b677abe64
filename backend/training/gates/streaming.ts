import type { Tensor } from "@tensorflow/tfjs";
import type { ModelConfig } from "../../models/config.ts";
import { attendPrefill, type Window } from "../../models/transformer/attention.ts";
import { UNHOOKED } from "../../models/transformer/hook.ts";
import { tf } from "../../runtime/tf.ts";
import type { GatedAttention, GatedInputs } from "./gated-block.ts";

/**
 * DuoAttention's mixture: the outputs of a KV head's query heads are gate · full + (1 - gate) · streaming.
 * The gates of a layer are one tensor [KV heads].
 * @param window keys of a streaming head: the first `sink` and the last `recent`
 * @see Xiao et al. 2024, DuoAttention, equation 1
 */
export function streamingMixture(window: Window): GatedAttention {
  return {
    key: `streaming ${window.sink} ${window.recent}`,
    attend({ stream: _, prompt: __, ...tokens }: GatedInputs, [gates]: readonly Tensor[], config: ModelConfig) {
      const { n_heads: H, n_key_value_heads: G } = config;
      const [full] = attendPrefill(tokens, [], config, UNHOOKED);
      const windows = new Array<Window>(G).fill(window);
      const [near] = attendPrefill({ ...tokens, windows }, [], config, UNHOOKED);
      const byHead = tf.reshape(tf.tile(tf.reshape(gates!, [G, 1]), [1, H / G]), [1, 1, H, 1]);
      return { z: tf.add(near, tf.mul(byHead, tf.sub(full, near))) };
    },
  };
}
