import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { localWindow, type ModelConfig } from "../../../models/config.ts";
import { rotate } from "../../../models/transformer/block.ts";
import { rotaryFrequencies } from "../../../models/transformer/rope.ts";
import { tf } from "../../../runtime/tf.ts";
import { groupMean, withFirst } from "../attention.ts";
import { evenParameters, sinksParameter } from "../kinds/parameters.ts";
import { type LayerView, tokenPolicy } from "../kinds/tokens.ts";
import { inUnit } from "../kinds/units.ts";

/** The attention to expect from queries that are yet to come. */
export const expectedAttention = tokenPolicy({
  name: "expected-attention",
  title: "What coming queries will attend to",
  description:
    "Takes the queries to come for normally distributed as those of the prompt are, rotated to the next `future` positions. Each KV head " +
    "keeps the keys whose expected attention, times the norm of the value, is largest, and the first `sinks`.",
  source:
    "Devoto et al. 2025, Expected Attention: KV Cache Compression by Estimating Attention from Future Queries Distribution",
  parameters: z.object({
    ...evenParameters,
    ...sinksParameter,
    future: inUnit(
      "tokens",
      z.int().min(1).default(512).describe("positions to come over which the rotation is averaged"),
    ),
  }),
  least: ({ sinks }) => sinks + 1,
  queries: () => ({ of: "all", unrotated: true }),
  /** Covariance (times their number) of the queries behind the sinks, and below it their mean [heads, d_head + 1, d_head]. */
  observe({ queries, length }, state, { sinks }) {
    const [heads, count, width] = queries.shape as [number, number, number];
    const first = Math.max(0, sinks - (length - count));
    if (first >= count) return tf.zeros([heads, width + 1, width]);
    const own = moments(tf.slice(queries, [0, first, 0], [heads, count - first, width]));
    const before = length - count + first - sinks;
    return before > 0 ? joined(state!, before, own, count - first) : own;
  },
  score(view, { sinks, future }, state) {
    const { config, layer, length, kvHeads, held } = view;
    const [heads, , width] = state!.shape as [number, number, number];
    const turn = (x: Tensor): Tensor => rotatedOn(x, { config, layer }, length, future);
    const mean = turn(tf.slice(state!, [0, width, 0], [heads, 1, width])); // [heads, 1, d_head]
    const spread = tf.div(tf.slice(state!, [0, 0, 0], [heads, width, width]), length - sinks);
    // R Σ Rᵀ: rows turned, then columns.
    const covariance = turn(tf.transpose(turn(spread), [0, 2, 1]));
    const group = heads / kvHeads;
    const behind = (x: Tensor): Tensor => tf.slice(x, [0, sinks, 0], [kvHeads, held - sinks, width]);
    const keys = repeated(behind(view.keys), group); // [heads, keys, d_head]
    const linear = tf.sum(tf.mul(keys, mean), 2);
    const square = tf.sum(tf.mul(tf.matMul(keys, covariance), keys), 2);
    const scale = config.attn_scale;
    const expected = tf.softmax(tf.add(tf.mul(linear, scale), tf.mul(square, scale ** 2 / 2)));
    const norms = tf.norm(behind(view.values), "euclidean", 2); // [KV heads, keys]
    return withFirst(tf.mul(groupMean(expected, kvHeads), norms), sinks);
  },
});

/** Sums of products about the mean, and the mean. @param x [heads, queries, d_head] @returns [heads, d_head + 1, d_head] */
function moments(x: Tensor): Tensor {
  const mean = tf.mean(x, 1, true);
  const centred = tf.sub(x, mean);
  return tf.concat([tf.matMul(centred, centred, true), mean], 1);
}

/** The same of two parts together. @see Chan et al. 1979 */
function joined(a: Tensor, countA: number, b: Tensor, countB: number): Tensor {
  const [heads, rows, width] = a.shape as [number, number, number];
  const part = (x: Tensor): [Tensor, Tensor] => [
    tf.slice(x, [0, 0, 0], [heads, rows - 1, width]),
    tf.slice(x, [0, rows - 1, 0], [heads, 1, width]),
  ];
  const [[productsA, meanA], [productsB, meanB]] = [part(a), part(b)];
  const all = countA + countB;
  const difference = tf.sub(meanB, meanA);
  const between = tf.mul(tf.matMul(difference, difference, true), (countA * countB) / all);
  return tf.concat([tf.addN([productsA, productsB, between]), tf.add(meanA, tf.mul(difference, countB / all))], 1);
}

/** Vectors under the mean of the rotations at the positions to come. @param x [heads, rows, d_head] */
function rotatedOn(
  x: Tensor,
  { config, layer }: Pick<LayerView, "config" | "layer">,
  from: number,
  count: number,
): Tensor {
  const { rotary_dim } = config;
  if (!rotates(config)) return x;
  const own = localWindow(config, layer) === undefined ? undefined : config.rotary_local;
  const { inverse, factor } = rotaryFrequencies(
    rotary_dim,
    own?.base ?? config.rotary_base,
    own ? own.scaling : config.rotary_scaling,
  );
  const mean = (of: (angle: number) => number): Tensor => {
    const half = inverse.map((frequency) => {
      let sum = 0;
      for (let position = from; position < from + count; position++) sum += of(Math.fround(position * frequency));
      return (sum / count) * factor;
    });
    return tf.tensor3d([...half, ...half], [1, 1, rotary_dim]);
  };
  return rotate(x, { cos: mean(Math.cos), sin: mean(Math.sin) }, config);
}

function rotates({ positional_embedding_type }: ModelConfig): boolean {
  return positional_embedding_type === "rotary";
}

/** Each KV head's rows once for every query head of its group. @param x [KV heads, rows, width] */
function repeated(x: Tensor, group: number): Tensor {
  const [kvHeads, rows, width] = x.shape as [number, number, number];
  return tf.reshape(tf.tile(tf.reshape(x, [kvHeads, 1, rows, width]), [1, group, 1, 1]), [
    kvHeads * group,
    rows,
    width,
  ]);
}
