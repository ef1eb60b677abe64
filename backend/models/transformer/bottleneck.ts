import type { Tensor, Tensor3D } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { gatherRows, sumRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";

/**
 * The discrete bottleneck of a model: its output at a token is computed from that token's embedding and, in place of the stream, from
 * codes of the normalised stream at the token before. A code is chosen for every head, the nearest of a list of vectors; the heads' codes
 * stand side by side. The first token of a sequence, which has none before it, reads its own codes.
 * @see Dedieu et al. 2024, Learning Cognitive Maps from Transformer Representations, section 3: the code of the history up to an
 *   observation and the next action foretell the next observation
 */
export type Bottleneck = NonNullable<ModelConfig["bottleneck"]>;

/**
 * The nearest code of every head, the first of equally near ones.
 * @param z [tokens, d_model] @param codes all heads' [heads * codes, d_model / heads]
 * @returns rows of `codes`, int32 [tokens * heads]
 */
export function nearestCodes(z: Tensor, codes: Tensor, { heads, codes: count }: Bottleneck): Tensor {
  const width = codes.shape[1]!;
  const own = tf.transpose(tf.reshape(z, [-1, heads, width]), [1, 0, 2]); // [heads, tokens, width]
  const all = tf.reshape(codes, [heads, count, width]);
  const products = tf.matMul(own as Tensor3D, all as Tensor3D, false, true); // [heads, tokens, codes]
  const norms = tf.reshape(tf.sum(tf.square(all), -1), [heads, 1, count]);
  const nearest = tf.argMax(tf.sub(tf.mul(products, 2), norms), -1); // [heads, tokens]
  const first = tf.tensor2d([Array.from({ length: heads }, (_, head) => head * count)], [1, heads], "int32");
  return tf.reshape(tf.add(tf.transpose(nearest), first), [-1]);
}

/** The vectors of codes, heads side by side. @param chosen as `nearestCodes` gives them @returns [tokens, d_model] */
export function codeVectors(codes: Tensor, chosen: Tensor, { heads }: Bottleneck): Tensor {
  const [rows, width] = codes.shape as [number, number];
  const vectors = tf.customGrad((...args: (Tensor | ((saved: Tensor[]) => void))[]) => {
    // A gradient's forward frees whatever is not saved, the choice too.
    (args[1] as (saved: Tensor[]) => void)([chosen]);
    return {
      value: gatherRows(args[0] as Tensor, chosen),
      gradFunc: (dy: Tensor, [index]: Tensor[]) => sumRows(dy, index!, rows),
    };
  })(codes);
  return tf.reshape(vectors, [-1, heads * width]);
}

/** The codes' vectors, through which the gradient goes to z as if they were z. @param z @param vectors [tokens, d_model] */
export function straightThrough(z: Tensor, vectors: Tensor): Tensor {
  return tf.customGrad((...args: (Tensor | ((saved: Tensor[]) => void))[]) => ({
    value: tf.clone(args[1] as Tensor),
    gradFunc: (dy: Tensor) => [tf.clone(dy), tf.zerosLike(dy)],
  }))(z, vectors);
}

/** A tensor that no gradient goes back through. */
function detached(x: Tensor): Tensor {
  return tf.customGrad((...args: (Tensor | ((saved: Tensor[]) => void))[]) => ({
    value: tf.clone(args[0] as Tensor),
    gradFunc: (dy: Tensor) => tf.zerosLike(dy),
  }))(x);
}

/**
 * The loss by which codes and streams come near each other: mean((sg z - e)²) + commitment · mean((z - sg e)²) over the width.
 * @param z @param vectors e [tokens, d_model] @returns [tokens]
 * @see van den Oord et al. 2017, Neural Discrete Representation Learning, equation 3
 */
export function codeLosses(z: Tensor, vectors: Tensor, commitment: number): Tensor {
  const learning = tf.mean(tf.square(tf.sub(detached(z), vectors)), -1);
  return tf.add(learning, tf.mul(tf.mean(tf.square(tf.sub(z, detached(vectors))), -1), commitment));
}

/** The bottleneck of a model that must have one. @throws HeadscopeError (unsupported) */
export function requireCodes({ bottleneck }: Pick<ModelConfig, "bottleneck">): Bottleneck {
  if (bottleneck) return bottleneck;
  throw new HeadscopeError("unsupported", "the model has no discrete bottleneck, so its tokens have no codes", {
    remedy: "train one with --param codes=N",
    field: "codes",
  });
}

/**
 * Insists on a model whose logits are computed from the stream at their own position.
 * @param who the subject of the error, such as "a cache of keys and values"
 * @throws HeadscopeError (unsupported)
 */
export function requireOpenEnd({ bottleneck }: Pick<ModelConfig, "bottleneck">, who: string): void {
  if (bottleneck === undefined) return;
  throw new HeadscopeError(
    "unsupported",
    `${who} reads logits off the stream, and behind this model's lies a discrete bottleneck of ${bottleneck.codes} codes`,
    { remedy: "run whole sequences of tokens, or take a model without codes", field: "codes" },
  );
}
