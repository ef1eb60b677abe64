import { z } from "zod";
import { Random } from "../../backend/common/random.ts";
import { wrapped } from "../../backend/common/text.ts";
import { type Batch, type Evaluation, rowOf } from "../../backend/training/task.ts";
import { impossible, task } from "../base.ts";
import { predictWalk } from "./bayes.ts";
import { drawRoom, drawWalk, MOVES, type Room, walkTokens } from "./grid.ts";

const parameters = z.object({
  width: z.int().min(2).max(32).default(5).describe("places of a room from left to right"),
  height: z.int().min(2).max(32).default(5).describe("places of a room from top to bottom"),
  observations: z.int().min(2).max(512).default(8).describe("observations, fewer than places"),
  moves: z.int().min(4).max(1024).default(48).describe("moves of a walk"),
  rooms: z.int().min(0).max(4096).default(1).describe("rooms of the training; 0 draws a new one for every walk"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** The rooms of a run; none where every walk has its own. */
export interface RoomsWorld {
  readonly rooms: readonly Room[];
}

/** Stream of a seed from which its rooms are drawn. */
const ROOMS_STREAM = 0xe6000000;

/** Walks that begin at uniform places. @param weight of the prediction after a move, default 1 */
function batch(
  { observations, moves, ...grid }: Params,
  random: Random,
  rows: number,
  { room, weight = () => 1 }: { room: () => Room; weight?: (places: Int32Array, move: number) => number },
): Batch {
  const positions = 2 * moves;
  const tokens = new Int32Array(rows * positions);
  const classes = new Int32Array(rows * positions);
  const weights = new Float32Array(rows * positions);
  const layout = new Int32Array(rows * (moves + 1));
  for (let r = 0; r < rows; r++) {
    const own = room();
    const walk = drawWalk(grid, moves, random);
    tokens.set(walkTokens(own, walk, observations), r * positions);
    layout.set(walk.places, r * (moves + 1));
    for (let t = 0; t < moves; t++) {
      const after = r * positions + 2 * t + 1;
      classes[after] = own[walk.places[t + 1]!]!;
      weights[after] = weight(walk.places, t);
    }
  }
  return { rows, tokens, classes, weights, layout };
}

/** One of the run's rooms, or where there are none a new one. */
const roomOf = ({ rooms }: RoomsWorld, params: Params, random: Random): Room =>
  rooms.length > 0 ? rooms[random.integer(0, rooms.length)]! : drawRoom(params, params.observations, random);

/** Says that a move in the second half of a walk leads to a place where the walk has been. */
export function returns(places: Int32Array, move: number): boolean {
  return move >= (places.length - 1) / 2 && places.subarray(0, move + 1).includes(places[move + 1]!);
}

function evaluation(
  title: string,
  room: (world: RoomsWorld, params: Params, random: Random) => Room,
): Evaluation<Params, RoomsWorld> {
  return {
    title,
    chance: ({ observations }) => ({ accuracy: 1 / observations, loss: Math.log(observations) }),
    sample: (world, params, random, rows) =>
      batch(params, random, rows, {
        room: () => room(world, params, random),
        weight: (places, move) => (returns(places, move) ? 1 : 0),
      }),
  };
}

/** Random walks in rooms of fewer observations than places: what is seen after every move. */
export const ambiguousRooms = task({
  name: "ambiguous-rooms",
  title: "Ambiguous rooms",
  description:
    "A random walk on a grid: an observation, a move, the next observation, and so on; after every move the target is what is seen next. Places look " +
    "alike, so that only the history tells where the walk is. Against a wall a move leads nowhere. The rooms are the run's, or a new one for every walk.",
  source: "Dedieu et al. 2024, Learning Cognitive Maps from Transformer Representations for Efficient Planning in Partially Observed Environments",
  parameters,
  shape: ({ observations, moves }) => ({
    input: { kind: "tokens", vocabulary: observations + MOVES.length },
    output: { kind: "classes", count: observations },
    positions: 2 * moves,
    scored: "all",
  }),
  check({ width, height, observations }) {
    if (observations >= width * height)
      throw impossible(
        "ambiguous-rooms",
        ["observations", "width", "height"],
        `${observations} observations for ${width * height} places need not look alike`,
        "give fewer observations than places",
      );
  },
  world(params, seed) {
    const random = new Random(seed, ROOMS_STREAM);
    return { rooms: Array.from({ length: params.rooms }, () => drawRoom(params, params.observations, random)) };
  },
  sample: (world, params, random, rows) =>
    batch(params, random, rows, { room: () => roomOf(world, params, random) }),
  evaluations: {
    "returns": evaluation("returns to a place of the walk, in its second half, in rooms as in training", roomOf),
    "new-rooms": evaluation("the same in rooms that were never seen", (_, params, random) =>
      drawRoom(params, params.observations, random)),
  },
  reference: {
    title: "Bayes' prediction from where the walk can be",
    predict(world, params, drawn) {
      const { observations, moves } = params;
      const predictions = new Float64Array(drawn.rows * 2 * moves * observations).fill(-Math.log(observations));
      for (let r = 0; r < drawn.rows; r++) {
        const own = rowOf(drawn, r).tokens!;
        const walk = { seen: own.filter((_, i) => i % 2 === 0), moves: own.filter((_, i) => i % 2 === 1).map((m) => m - observations) };
        const predicted = predictWalk(params, observations, world.rooms, walk);
        for (let t = 0; t < moves; t++)
          for (let o = 0; o < observations; o++)
            predictions[((r * moves + t) * 2 + 1) * observations + o] = Math.log(predicted[t * observations + o]!);
      }
      return predictions;
    },
  },
  probeTargets: {
    place: {
      title: "the place where an observation is made, or that a move leads to",
      at: (_, { moves }, { rows, layout }) => ({
        kind: "classes",
        classes: Int32Array.from({ length: rows * 2 * moves }, (_, i) => {
          const [row, position] = [Math.floor(i / (2 * moves)), i % (2 * moves)];
          return layout![row * (moves + 1) + Math.ceil(position / 2)]!;
        }),
      }),
    },
  },
  describe(_, { observations }, drawn, row) {
    const { tokens, classes } = rowOf(drawn, row);
    const words = Array.from(tokens!, (token) => (token < observations ? String(token) : MOVES[token - observations]!));
    return wrapped([...words, "->", String(classes!.at(-1))]);
  },
  defaults: {
    model: { n_layers: 2, n_heads: 4, d_model: 64, attn_only: false, readout_hidden: [128] },
    training: { steps: 3000, batch: 32, learning_rate: 2e-3, schedule: "cosine", warmup: 100, clip: 1 },
  },
}); // biome-ignore format: a table
