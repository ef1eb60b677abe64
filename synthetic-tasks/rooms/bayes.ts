import { type Grid, MOVES, type Room, successorsOf } from "./grid.ts";

/** A walk as it is seen: observations before each move [moves], and the moves [moves]. */
export interface SeenWalk {
  readonly seen: ArrayLike<number>;
  readonly moves: ArrayLike<number>;
}

/**
 * The probability of each observation after each move of a walk, of Bayes' predictor for walks from a uniform place.
 * @param rooms one of which the walk is in, each as likely; with none, a room with uniform and independent observations
 * @returns [moves, observations]; uniform from where on no room goes with what was seen
 */
export function predictWalk(grid: Grid, observations: number, rooms: readonly Room[], walk: SeenWalk): Float64Array {
  return rooms.length > 0 ? amongRooms(grid, observations, rooms, walk) : inFreshRoom(grid, observations, walk);
}

/** Belief over rooms and places, by the forward algorithm: an observation leaves the places that have it, a move shifts them. */
function amongRooms(grid: Grid, observations: number, rooms: readonly Room[], { seen, moves }: SeenWalk): Float64Array {
  const successors = successorsOf(grid);
  const places = grid.width * grid.height;
  const predicted = new Float64Array(moves.length * observations);
  let belief = rooms.map(() => new Float64Array(places).fill(1));
  for (let t = 0; t < moves.length; t++) {
    const moved = rooms.map(() => new Float64Array(places));
    const own = predicted.subarray(t * observations, (t + 1) * observations);
    rooms.forEach((room, r) => {
      for (let place = 0; place < places; place++) {
        if (room[place] !== seen[t]) continue;
        const next = successors[place * MOVES.length + moves[t]!]!;
        moved[r]![next]! += belief[r]![place]!;
        own[room[next]!]! += belief[r]![place]!;
      }
    });
    belief = moved;
    normaliseOrFlatten(own);
  }
  return predicted;
}

/**
 * Belief over the place where the walk began. Each beginning says where every observation was made; it is possible where no place has
 * two, and each place that was seen for the first time makes it less likely by the number of observations.
 */
function inFreshRoom(grid: Grid, observations: number, { seen, moves }: SeenWalk): Float64Array {
  const successors = successorsOf(grid);
  const places = grid.width * grid.height;
  const predicted = new Float64Array(moves.length * observations);
  const beginnings = Array.from({ length: places }, (_, place) => ({
    place,
    weight: 1,
    known: new Int32Array(places).fill(-1),
  }));
  for (let t = 0; t < moves.length; t++) {
    const own = predicted.subarray(t * observations, (t + 1) * observations);
    for (const beginning of beginnings) {
      const { place, known } = beginning;
      if (known[place] === -1) {
        known[place] = seen[t]!;
        beginning.weight /= observations;
      } else if (known[place] !== seen[t]) beginning.weight = 0;
      beginning.place = successors[place * MOVES.length + moves[t]!]!;
      const expected = known[beginning.place]!;
      if (expected === -1) for (let o = 0; o < observations; o++) own[o]! += beginning.weight / observations;
      else own[expected]! += beginning.weight;
    }
    rescale(beginnings);
    normaliseOrFlatten(own);
  }
  return predicted;
}

/** Divides weights by their sum, so that long walks do not leave the range of numbers. */
function rescale(weighted: { weight: number }[]): void {
  const total = weighted.reduce((sum, { weight }) => sum + weight, 0);
  if (total > 0) for (const each of weighted) each.weight /= total;
}

function normaliseOrFlatten(values: Float64Array): void {
  const total = values.reduce((sum, value) => sum + value, 0);
  values.forEach((value, i) => {
    values[i] = total > 0 ? value / total : 1 / values.length;
  });
}
