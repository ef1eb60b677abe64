import type { Head } from "../../common/heads/head.ts";
import { headShape } from "../../models/config.ts";
import { forward } from "../../models/forward/forward.ts";
import type { Model } from "../../models/model.ts";
import { tf } from "../../runtime/tf.ts";
import { headFactors } from "../weights/factors.ts";
import type { PairLooks } from "./attention.ts";

/** Heads whose logits are held at a time. */
const AT_A_TIME = 16;

/**
 * The logits that heads give a token that they look at: their values at its position, through W_O, the gain of a norm behind attention, the
 * final norm and the unembedding, as a head's output that looked there alone.
 * @param place the token's id, and its position in the prompt
 * @returns by head, the logit of the token above the mean over the vocabulary, in standard deviations
 * @see Wang et al. 2022, section 3.1: the copying score, there of the state behind the first MLP, and as a share of tokens among the best five
 */
export function copiedLogits(
  model: Model,
  heads: readonly Head[],
  { values }: Pick<PairLooks, "values">,
  place: { readonly token: number; readonly position: number },
): number[] {
  const { n_layers } = model.config;
  const { queries, values: G, valueWidth } = headShape(model.config);
  const found: number[] = [];
  for (let first = 0; first < heads.length; first += AT_A_TIME) {
    const part = heads.slice(first, first + AT_A_TIME);
    const resid = tf.tidy(() => {
      const written = part.map(({ layer, head }) => {
        const kv = Math.floor((head * G) / queries);
        const start = (place.position * G + kv) * valueWidth;
        const value = tf.tensor2d(values[layer]!.slice(start, start + valueWidth), [1, valueWidth]);
        const out = tf.matMul(value, tf.squeeze(headFactors(model, layer, [head]).o, [0]) as never); // [1, d_model]
        const gain = model.weights.blocks[layer]!.ln1Post?.w;
        return gain ? tf.mul(out, gain) : out;
      });
      return tf.stack(written, 0); // [heads, 1, d_model]
    });
    const run = forward(model, { resid, startLayer: n_layers, logitsAt: "last" });
    const logits = run.logits!.dataSync();
    const width = logits.length / part.length;
    part.forEach((_, i) => {
      found.push(standardised(logits.subarray(i * width, (i + 1) * width), place.token));
    });
    run.dispose();
    resid.dispose();
  }
  return found;
}

/** An entry in standard deviations above the mean of all; 0 where all are the same. */
function standardised(row: ArrayLike<number>, index: number): number {
  let [sum, squares] = [0, 0];
  for (let i = 0; i < row.length; i++) sum += row[i]!;
  const mean = sum / row.length;
  for (let i = 0; i < row.length; i++) squares += (row[i]! - mean) ** 2;
  const deviation = Math.sqrt(squares / row.length);
  return deviation === 0 ? 0 : (row[index]! - mean) / deviation;
}
