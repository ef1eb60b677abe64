import { falling, lateSums, type Scored, stretchSums } from "./scores.ts";
import type { Squares } from "./squares.ts";

/** The attention of a prompt's last queries as columns and diagonals of squares would read it, by head. */
export interface LateSquares {
  /** Sums by column [heads][columns]. */
  readonly columns: number[][];
  /** Sums by distance in squares [heads][columns]; a diagonal counts to a distance with the part of its pairs that lie in squares of it. */
  readonly distances: number[][];
}

/** Sizes of a pattern of columns and diagonals, in tokens. */
export interface VerticalSlash {
  /** Columns. */
  readonly vertical: number;
  /** Distances. */
  readonly slash: number;
  /** First columns, which are always among them. */
  readonly sinks: number;
  /** Smallest distances, which are always among them. */
  readonly local: number;
}

/** Sums the attention of the last queries. @param last how many */
export function lateSquares(view: Scored, last: number): LateSquares {
  const { start, side } = view;
  const { byKey, byDistance } = lateSums(view, last);
  const columns = stretchSums(byKey, side).arraySync() as number[][];
  const sums = byDistance.dataSync();
  const keys = byDistance.shape[1]!;
  const distances = columns.map(({ length }, head) => {
    const own = new Array<number>(length).fill(0);
    for (let distance = 0; distance < keys; distance++) {
      const sum = sums[head * keys + distance]!;
      // Rows begin start % side behind a column's first position.
      const squares = (distance - (start % side)) / side;
      const near = Math.floor(squares);
      const part = squares - near;
      if (near >= 0) own[near]! += (1 - part) * sum;
      if (near + 1 < length) own[near + 1]! += part * sum;
    }
    return own;
  });
  return { columns, distances };
}

/** The columns and distances of squares, ascending, in which the last queries had most attention: as many as have so many tokens. */
export function chooseVerticalSlash(
  late: { columns: readonly number[]; distances: readonly number[] },
  { vertical, slash, sinks, local }: VerticalSlash,
  { start, side }: Pick<Scored, "start" | "side">,
): { columns: number[]; distances: number[] } {
  const best = (sums: readonly number[], tokens: number, always: (place: number) => boolean): number[] =>
    falling(sums.map((sum, place) => (always(place) ? Number.POSITIVE_INFINITY : sum)))
      .slice(0, Math.ceil(tokens / side))
      .sort((a, b) => a - b);
  return {
    columns: best(late.columns, vertical, (column) => column * side < sinks),
    distances: best(late.distances, slash, (distance) => (distance - 1) * side + 1 + (start % side) < local),
  };
}

/** Adds the squares of some columns and distances. */
export function addVerticalSlash(
  squares: Squares,
  head: number,
  { columns, distances }: { columns: readonly number[]; distances: readonly number[] },
): void {
  const [isColumn, isDistance] = [new Set(columns), new Set(distances)];
  squares.fill(head, (row, column) => isColumn.has(column) || isDistance.has(squares.firstOwn(row) - column));
}
