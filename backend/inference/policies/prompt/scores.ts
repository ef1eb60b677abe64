import type { Tensor } from "@tensorflow/tfjs";
import type { LineSums } from "../../../kernels/prompt.ts";
import { tf } from "../../../runtime/tf.ts";
import { kernelSums, patternOf } from "../attention.ts";
import type { PromptView } from "../kinds/blocks.ts";

/** The part of a prompt's view that scores are made of. */
export type Scored = Pick<
  PromptView,
  "config" | "layer" | "start" | "tokens" | "side" | "queries" | "lastQueries" | "keys"
>;

/** Attention of a prompt's last queries [heads, queries, start + tokens]. @param last at most so many */
export function lateAttention({ config, layer, start, tokens, lastQueries, keys }: Scored, last: number): Tensor {
  const [kvHeads, held] = keys.shape as [number, number];
  return patternOf({
    ...{ config, layer, kvHeads, held, keys, step: 0, steps: 0, length: start + tokens },
    positions: tf.tile(tf.reshape(tf.range(0, held), [1, held]), [kvHeads, 1]),
    queries: lastQueries(Math.min(last, tokens)),
  });
}

/** Attention of a prompt's last queries summed up by key and by distance. @param last at most so many */
export function lateSums(view: Scored, last: number): LineSums {
  const { config, layer, tokens, lastQueries, keys } = view;
  const sums = kernelSums({ config, layer, queries: lastQueries(Math.min(last, tokens)), keys });
  if (sums) return sums;
  const late = lateAttention(view, last);
  return { byKey: tf.sum(late, 1), byDistance: diagonalSums(late) };
}

/** Sums of a pattern along its diagonals [heads, keys], by distance from a query to a key. @param pattern of the last queries [heads, queries, keys] */
export function diagonalSums(pattern: Tensor): Tensor {
  const [heads, queries, keys] = pattern.shape as [number, number, number];
  // Rows from the last on, each shifted by one more: then a column is a distance. A flat row of one number more shifts the next.
  const wide = tf.pad(tf.reverse(pattern, 1), [[0, 0], [0, 0], [0, queries]]); // biome-ignore format: one line
  const flat = tf.slice(
    tf.reshape(wide, [heads, queries * (keys + queries)]),
    [0, 0],
    [heads, queries * (keys + queries - 1)],
  );
  const shifted = tf.slice(tf.reshape(flat, [heads, queries, keys + queries - 1]), [0, 0, 0], [heads, queries, keys]);
  return tf.reverse(tf.sum(shifted, 1), 1);
}

/** Sums over stretches of the last axis [..., ceil(n / side)]. */
export function stretchSums(x: Tensor, side: number): Tensor {
  const n = x.shape.at(-1)!;
  const count = Math.ceil(n / side);
  const padding = x.shape.map((_, axis) => [0, axis === x.rank - 1 ? count * side - n : 0] as [number, number]);
  return tf.sum(tf.reshape(tf.pad(x, padding), [...x.shape.slice(0, -1), count, side]), -1);
}

/** Means over stretches of the tokens [heads, ceil(tokens / side), width]; of the last over those that it has. @param x [heads, tokens, width] */
export function stretchMeans(x: Tensor, side: number): Tensor {
  const [heads, tokens, width] = x.shape as [number, number, number];
  const count = Math.ceil(tokens / side);
  const wide = tf.pad(x, [[0, 0], [0, count * side - tokens], [0, 0]]); // biome-ignore format: one line
  const sums = tf.sum(tf.reshape(wide, [heads, count, side, width]), 2);
  return tf.div(sums, tf.minimum(side, tf.sub(tokens, tf.mul(tf.reshape(tf.range(0, count), [count, 1]), side))));
}

/** Products of the queries of each head with the keys of its KV head [heads, queries, keys]. @param queries [heads, queries, width] @param keys [KV heads, keys, width] */
export function products(queries: Tensor, keys: Tensor): Tensor {
  const [heads, count, width] = queries.shape as [number, number, number];
  const [kvHeads, held] = keys.shape as [number, number];
  const grouped = tf.reshape(queries, [kvHeads, (heads / kvHeads) * count, width]);
  return tf.reshape(tf.matMul(grouped, keys, false, true), [heads, count, held]);
}

/** Calls f with the places of the highest numbers, in any order; of equal ones the first are taken. @param falling the numbers, sorted */
export function eachHighest(
  numbers: ArrayLike<number>,
  { falling, count }: { falling: ArrayLike<number>; count: number },
  f: (place: number) => void,
): void {
  const least = falling[count - 1];
  if (least === undefined) return;
  let equal = 0;
  while (equal < count && falling[count - 1 - equal] === least) equal++;
  for (let place = 0; place < numbers.length; place++)
    if (numbers[place]! > least || (numbers[place] === least && equal-- > 0)) f(place);
}

/** Places of numbers from the highest to the lowest; of equal ones the first goes first. */
export function falling(numbers: ArrayLike<number>): number[] {
  return Array.from({ length: numbers.length }, (_, i) => i).sort((a, b) => numbers[b]! - numbers[a]!);
}
