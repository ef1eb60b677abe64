import type { SparsePattern } from "../../../heads/patterns.ts";
import { tf } from "../../../runtime/tf.ts";
import { falling, lateAttention, products, type Scored, stretchMeans, stretchSums } from "./scores.ts";
import { inShape, Squares } from "./squares.ts";
import { addVerticalSlash, chooseVerticalSlash, type LateSquares, lateSquares } from "./vertical-slash.ts";

/** A shape of sparse attention and its two sizes, as a pattern file has them. */
export type PatternShape = Pick<SparsePattern, "pattern" | "a" | "b">;

/** The queries that the choice of columns and diagonals looks at, and the places that it takes in any case. */
export interface LateChoice {
  /** Last queries whose attention is looked at. */
  readonly last: number;
  readonly sinks: number;
  readonly local: number;
}

/** Shapes of a layer's heads as squares; what they are chosen by is worked out when first asked for, in a tidy of the caller's. */
export class LayerPatterns {
  readonly #view: Scored;
  readonly #choice: LateChoice;
  #late: LateSquares | undefined;
  #pooled: number[][][] | undefined;

  constructor(view: Scored, choice: LateChoice) {
    this.#view = view;
    this.#choice = choice;
  }

  /** Adds the squares of a head's shape. */
  add(squares: Squares, head: number, { pattern, a, b }: PatternShape): void {
    if (pattern === "stream_llm") squares.fill(head, inShape(squares, { sinks: a, local: b + 1 }));
    else if (pattern === "vertical_and_slash") addVerticalSlash(squares, head, this.verticalSlash(head, a, b));
    else this.#addBest(squares, head, a);
  }

  /** Columns and distances of a head. @param vertical tokens of the columns @param slash distances in tokens */
  verticalSlash(head: number, vertical: number, slash: number): { columns: number[]; distances: number[] } {
    this.#late ??= lateSquares(this.#view, this.#choice.last);
    const { sinks, local } = this.#choice;
    const late = { columns: this.#late.columns[head]!, distances: this.#late.distances[head]! };
    return chooseVerticalSlash(late, { vertical, slash, sinks, local }, this.#view);
  }

  /** Each row reads the columns whose mean key has the largest products with its mean query. */
  #addBest(squares: Squares, head: number, count: number): void {
    const { queries, keys, side } = this.#view;
    this.#pooled ??= products(stretchMeans(queries, side), stretchMeans(keys, side)).arraySync() as number[][][];
    this.#pooled[head]!.forEach((scores, row) => {
      for (const column of falling(scores.slice(0, squares.lastOwn(row) + 1)).slice(0, count))
        squares.add(head, row, column);
    });
  }
}

/**
 * Shares of the later queries' attention that shapes recall in one layer.
 * @param from first of these queries, a multiple of the side of squares
 * @returns [heads][shapes]
 */
export function recallOf(
  view: Scored,
  shapes: readonly PatternShape[],
  { from, ...choice }: LateChoice & { from: number },
): number[][] {
  const { side, tokens, config } = view;
  const patterns = new LayerPatterns(view, choice);
  const late = lateAttention(view, tokens - from);
  const byRow = tf.transpose(stretchSums(tf.transpose(stretchSums(late, side), [0, 2, 1]), side), [0, 2, 1]);
  const mass = byRow.arraySync() as number[][][]; // [heads][rows from `from` on][columns]
  return Array.from({ length: config.n_heads }, (_, head) =>
    shapes.map((shape) => {
      const squares = new Squares(view, config.n_heads);
      patterns.add(squares, head, shape);
      const read = mass[head]!.map((row, r) =>
        row.reduce((sum, part, column) => (squares.has(head, r + from / side, column) ? sum + part : sum), 0),
      );
      return read.reduce((sum, part) => sum + part, 0) / (tokens - from);
    }),
  );
}
