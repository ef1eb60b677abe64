import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { antidiagonalSums } from "../../../kernels/prompt.ts";
import { kernelsAttend } from "../../../models/cache/storage/storages.ts";
import { tf } from "../../../runtime/tf.ts";
import type { BlockPolicy } from "../kinds/blocks.ts";
import { eachHighest, products, type Scored } from "../prompt/scores.ts";
import { questionParameter, Squares } from "../prompt/squares.ts";

const parameters = z.object({
  stride: z
    .union([z.literal(4), z.literal(8), z.literal(16), z.literal(32)])
    .default(16)
    .describe("queries and keys of a tile, of which one antidiagonal is looked at"),
  threshold: z
    .number()
    .gt(0)
    .max(1)
    .default(0.9)
    .describe("share of its estimated attention that each row of squares reads at least"),
  ...questionParameter,
});

/** Score of a tile that no query sees. */
const UNSEEN = -1e30;

/**
 * Estimated attention of squares: queries and keys in tiles of stride x stride, whose antidiagonals' mean products are softmaxed along
 * the keys, then summed over the tiles of a square.
 * @returns [heads, rows of squares, columns of squares]
 */
export function antidiagonalScores(view: Scored, stride: number): Tensor {
  const { config, start, tokens, side, queries, keys } = view;
  const [heads, , width] = queries.shape as [number, number, number];
  const [down, across] = [Math.ceil(tokens / side), Math.ceil((start + tokens) / side)];
  const each = side / stride;
  const tiles = (x: Tensor, squares: number): Tensor => {
    const [h, n] = x.shape as [number, number];
    return tf.reshape(tf.pad(x, [[0, 0], [0, squares * side - n], [0, 0]]), [h, squares * each, stride, width]); // biome-ignore format: one line
  };
  const flat = (x: Tensor): Tensor => tf.reshape(x, [x.shape[0]!, x.shape[1]!, stride * width]);
  const tiled = products(flat(tf.reverse(tiles(queries, down), 2)), flat(tiles(keys, across)));
  const last = tf.add(tf.mul(tf.range(0, down * each), stride), start + stride - 1); // position of a tile's last query
  const first = tf.mul(tf.range(0, across * each), stride);
  const seen = tf.lessEqual(tf.expandDims(first, 0), tf.expandDims(last, 1));
  const scaled = tf.add(tf.mul(tiled, config.attn_scale / stride), tf.mul(tf.sub(1, tf.cast(seen, "float32")), UNSEEN));
  // Tiles of nothing but padding have no attention.
  const real = tf.cast(tf.less(tf.sub(last, start + stride - 1), tokens), "float32");
  const weights = tf.mul(tf.softmax(scaled), tf.reshape(real, [1, down * each, 1]));
  return tf.sum(tf.reshape(weights, [heads, down, each, across, each]), [2, 4]);
}

/** The same from the kernels, where they are. */
function estimatedAttention(view: Scored, stride: number): Tensor {
  const { config, side, queries, keys } = view;
  if (!kernelsAttend(config)) return antidiagonalScores(view, stride);
  return antidiagonalSums({ queries, keys, scale: config.attn_scale, stride, side });
}

/** Squares by falling score until each row has a share of its scores; the first column and the row's own always. @param scores [heads, rows, columns] */
export function coveringSquares(view: Scored, scores: ArrayLike<number>, threshold: number): Squares {
  const squares = new Squares(view, view.config.n_heads);
  const { down, across } = squares;
  const own = new Float32Array(across);
  for (let head = 0; head < squares.heads; head++)
    for (let row = 0; row < down; row++) {
      const from = (head * down + row) * across;
      const end = squares.lastOwn(row) + 1;
      squares.add(head, row, 0);
      let [mass, all] = [0, 0];
      for (let column = 0; column < end; column++) {
        own[column] = scores[from + column]!;
        all += own[column]!;
        if (!squares.has(head, row, column)) continue;
        mass += own[column]!;
        own[column] = -1; // below all scores
      }
      const others = own.subarray(0, end);
      const falling = others.slice().sort().reverse();
      let count = 0;
      while (count < end && falling[count]! >= 0 && mass < threshold * all) mass += falling[count++]!;
      eachHighest(others, { falling, count }, (column) => squares.add(head, row, column));
    }
  return squares;
}

/** Squares whose antidiagonals promise most of a row's attention. */
export const xattention: BlockPolicy<typeof parameters> = {
  name: "xattention",
  title: "Squares with high antidiagonal scores",
  description:
    "Each head scores squares of 64 queries and keys by the antidiagonals of tiles within, and each row of squares reads the best until they " +
    "have the share `threshold` of its scores; the first keys and the own ones always.",
  source: "Xu et al. 2025, XAttention: Block Sparse Attention with Antidiagonal Scoring",
  chooses: "blocks",
  parameters,
  choose(view, { stride, threshold, question }) {
    if (threshold === 1) return undefined;
    const squares = coveringSquares(view, estimatedAttention(view, stride).dataSync(), threshold);
    squares.addLast(question);
    return squares;
  },
};
