import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { counted } from "../../common/text.ts";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";

/**
 * The stream of every row behind the learned vectors of a soft prompt. They have no positions of their own among learned ones, and with
 * rotary ones stand at those before the sequence, so that the tokens' own are the same with and without them.
 * @param x [rows * positions, d_model] @param prompt [vectors, d_model] @returns [rows * (vectors + positions), d_model]
 * @see Lester et al. 2021, The Power of Scale for Parameter-Efficient Prompt Tuning, section 2
 */
export function behindPrompt(x: Tensor, prompt: Tensor, rows: number): Tensor {
  const width = x.shape[1]!;
  const all = tf.tile(tf.expandDims(prompt, 0), [rows, 1, 1]);
  return tf.reshape(tf.concat([all, tf.reshape(x, [rows, -1, width])], 1), [-1, width]);
}

/** The stream of every row without its first vectors. @param x [rows * (count + positions), d_model] @returns [rows * positions, d_model] */
export function afterFirst(x: Tensor, { rows, count }: { rows: number; count: number }): Tensor {
  const width = x.shape[1]!;
  const all = tf.reshape(x, [rows, -1, width]);
  return tf.reshape(tf.slice(all, [0, count, 0], [rows, all.shape[1]! - count, width]), [-1, width]);
}

/**
 * Insists on a model without soft prompt, for whoever counts positions from the first token on.
 * @param who the subject of the error, such as "a cache of keys and values"
 * @throws HeadscopeError (unsupported) for a model that has one
 */
export function refuseSoftPrompt({ soft_prompt: vectors }: Pick<ModelConfig, "soft_prompt">, who: string): void {
  if (vectors === undefined) return;
  throw new HeadscopeError(
    "unsupported",
    `${who} counts positions from the first token on, and this model has a soft prompt of ${counted(vectors, "vector")} before it`,
    {
      remedy:
        "take the prompt off (train with --from and --param soft_prompt=0: step 0 of that run has the same weights without it), or run the model by forward with softPrompt: true",
      field: "soft_prompt",
    },
  );
}
