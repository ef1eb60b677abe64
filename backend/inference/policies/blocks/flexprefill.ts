import { z } from "zod";
import { softmax } from "../../../common/numerics/softmax.ts";
import { tf } from "../../../runtime/tf.ts";
import type { BlockPolicy } from "../kinds/blocks.ts";
import { inUnit } from "../kinds/units.ts";
import { eachHighest, falling, lateSums, products, type Scored, stretchMeans, stretchSums } from "../prompt/scores.ts";
import { questionParameter, Squares } from "../prompt/squares.ts";

const parameters = z.object({
  gamma: z.number().gt(0).max(1).default(0.9).describe("share of the last queries' attention that is covered"),
  tau: z
    .number()
    .min(0)
    .default(0.1)
    .describe("divergence of estimated and true attention below which a head's squares follow their own queries"),
  least: inUnit("tokens", z.int().min(1).default(128).describe("tokens that columns, and distances, have at least")),
  ...questionParameter,
});
type Parameters = Omit<z.output<typeof parameters>, "question">;

/** The grounds on which a head's squares are chosen. */
export interface FlexHead {
  /** Root of the Jensen-Shannon divergence of estimate and truth, natural logarithm. */
  readonly divergence: number;
  /** True where the estimate is good enough to choose squares by. */
  readonly aware: boolean;
  /** Columns of squares, ascending. */
  readonly columns: readonly number[];
  /** Distances in squares, ascending. */
  readonly distances: readonly number[];
}

/** Columns and distances by head, and the squares that are read. */
export function flexSquares(view: Scored, params: Parameters): { heads: FlexHead[]; squares: Squares } {
  const { config, tokens, side, lastQueries, keys } = view;
  const heads = config.n_heads;
  const squares = new Squares(view, heads);
  const { down, across } = squares;
  const count = Math.min(side, tokens);
  const { byKey: columnSums, byDistance: diagonalSums } = lateSums(view, side);
  const lists = (x: { arraySync(): unknown }): number[][] => x.arraySync() as number[][];
  const [vertical, slash] = [tf.div(columnSums, count), tf.div(diagonalSums, count)];
  const [truths, distances] = [vertical, slash].map((x) => lists(stretchSums(x, side)));
  const [byKey, byDistance] = [lists(vertical), lists(slash)];
  const means = stretchMeans(keys, side);
  const last = tf.mean(lastQueries(count), 1, true);
  const estimates = lists(tf.reshape(tf.softmax(tf.mul(products(last, means), config.attn_scale)), [heads, across]));
  const found = truths!.map((truth, head): FlexHead => {
    const divergence = jensenShannon(estimates[head]!, truth);
    const aware = divergence < params.tau;
    const least = Math.ceil(params.least / side);
    const blocks = (x: readonly number[]): number =>
      Math.min(across, Math.max(least, aware ? 0 : Math.floor(covering(x, params.gamma) / side) + 1));
    return {
      ...{ divergence, aware },
      columns: bestWithFirst(truth, blocks(byKey[head]!)),
      distances: bestWithFirst(distances![head]!, blocks(byDistance[head]!)),
    };
  });
  const pooled = found.some(({ aware }) => aware) ? tf.mul(products(stretchMeans(view.queries, side), means), config.attn_scale).dataSync() : []; // biome-ignore format: one line
  found.forEach(({ aware, columns, distances }, head) => {
    const [isColumn, isDistance] = [new Set(columns), new Set(distances)];
    squares.fill(head, (row, column) => isColumn.has(column) || isDistance.has(squares.firstOwn(row) - column));
    if (aware)
      addByQueries(squares, head, pooled.slice(head * down * across, (head + 1) * down * across), params.gamma);
  });
  return { heads: found, squares };
}

/** Adds the pairs of rows and columns with most of the attention of mean queries to mean keys, over all rows together. @param pooled [rows, columns] */
function addByQueries(squares: Squares, head: number, pooled: ArrayLike<number>, gamma: number): void {
  const { down, across } = squares;
  const weights = new Float64Array(down * across);
  for (let row = 0; row < down; row++) {
    const own = Array.from({ length: squares.lastOwn(row) + 1 }, (_, column) => pooled[row * across + column]!);
    weights.set(softmax(own), row * across);
  }
  const falling = weights.slice().sort().reverse();
  let [sum, count] = [falling[0]!, 0];
  while (count < falling.length && sum <= gamma * down) sum += falling[++count]!;
  eachHighest(weights, { falling, count }, (place) => squares.add(head, Math.floor(place / across), place % across));
}

/** Root of the Jensen-Shannon divergence of two distributions. */
function jensenShannon(p: readonly number[], q: readonly number[]): number {
  const term = (x: number, mean: number): number => (x > 0 ? x * Math.log(x / mean) : 0);
  const sum = p.reduce((total, x, i) => total + term(x, (x + q[i]!) / 2) + term(q[i]!, (x + q[i]!) / 2), 0);
  return Math.sqrt(Math.max(0, sum / 2));
}

/** Numbers, from the highest on, that have no more than a share together, and one. */
function covering(numbers: readonly number[], gamma: number): number {
  let sum = 0;
  const sorted = Float64Array.from(numbers).sort();
  for (let count = 0; count < sorted.length; count++) {
    sum += sorted[sorted.length - 1 - count]!;
    if (sum > gamma) return count + 1;
  }
  return sorted.length + 1;
}

/** Places of the first number and the highest others, ascending. */
function bestWithFirst(numbers: readonly number[], count: number): number[] {
  const [, ...others] = numbers;
  const best = falling(others).slice(0, count - 1); // biome-ignore format: one line
  return [0, ...best.map((place) => place + 1)].sort((a, b) => a - b);
}

/** Columns and distances that cover the last queries' attention, or squares by their own queries where these say enough. */
export const flexprefill: BlockPolicy<typeof parameters> = {
  name: "flexprefill",
  title: "Columns and diagonals, or squares by their queries, as each head needs",
  description:
    "A head whose mean queries and keys estimate the last 64 queries' attention well reads, by that estimate, the squares with the share `gamma` of it; the " +
    "others read as many columns and diagonals of squares as cover that share of the last queries' attention.",
  source:
    "Lai et al. 2025, FlexPrefill: A Context-Aware Sparse Attention Mechanism for Efficient Long-Sequence Inference",
  chooses: "blocks",
  parameters,
  choose(view, params) {
    if (params.gamma === 1) return undefined;
    const { squares } = flexSquares(view, params);
    squares.addLast(params.question);
    return squares;
  },
};
