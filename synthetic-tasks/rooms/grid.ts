import type { Random } from "../../backend/common/random.ts";

/** Size of a room: a grid of places, numbered row by row. */
export interface Grid {
  readonly width: number;
  readonly height: number;
}

/** Moves of a walk, in the order of their numbers. */
export const MOVES = ["up", "right", "down", "left"] as const;

/** Observations at the places of a room [places]. */
export type Room = Int32Array;

/** A walk: the place before each move, and after the last one [moves + 1]; its moves [moves]. */
export interface Walk {
  readonly places: Int32Array;
  readonly moves: Int32Array;
}

/** The place that a move leads to; against a wall it leads nowhere. @param move number among `MOVES` */
export function placeAfter({ width, height }: Grid, place: number, move: number): number {
  const [x, y] = [place % width, Math.floor(place / width)];
  if (move === 0) return y > 0 ? place - width : place;
  if (move === 1) return x < width - 1 ? place + 1 : place;
  if (move === 2) return y < height - 1 ? place + width : place;
  return x > 0 ? place - 1 : place;
}

/** The places after every move from every place [places * moves]. */
export function successorsOf(grid: Grid): Int32Array {
  return Int32Array.from({ length: grid.width * grid.height * MOVES.length }, (_, i) =>
    placeAfter(grid, Math.floor(i / MOVES.length), i % MOVES.length),
  );
}

/** A room whose places have uniform and independent observations. */
export function drawRoom({ width, height }: Grid, observations: number, random: Random): Room {
  const room = new Int32Array(width * height);
  random.integers(room, 0, observations);
  return room;
}

/** A walk of uniform moves from a uniform place. */
export function drawWalk(grid: Grid, steps: number, random: Random): Walk {
  const places = new Int32Array(steps + 1);
  const moves = new Int32Array(steps);
  random.integers(moves, 0, MOVES.length);
  places[0] = random.integer(0, grid.width * grid.height);
  for (let t = 0; t < steps; t++) places[t + 1] = placeAfter(grid, places[t]!, moves[t]!);
  return { places, moves };
}

/** A walk as a model reads it: each observation, then the move that follows [2 * moves]. @param observations that there are */
export function walkTokens(room: Room, { places, moves }: Walk, observations: number): Int32Array {
  return Int32Array.from({ length: 2 * moves.length }, (_, i) =>
    i % 2 === 0 ? room[places[i / 2]!]! : observations + moves[(i - 1) / 2]!,
  );
}
