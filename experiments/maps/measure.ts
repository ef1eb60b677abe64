import { z } from "zod";
import { kMeans } from "../../backend/circuits/maps/clusters.ts";
import { codeGraph, edgeAgreement, graphOf, placesOf, shortestPath } from "../../backend/circuits/maps/code-graph.ts";
import { Random } from "../../backend/common/random.ts";
import { codesOf } from "../../backend/models/codes.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import type { Model } from "../../backend/models/model.ts";
import { ambiguousRooms } from "../../synthetic-tasks/rooms/ambiguous-rooms.ts";
import {
  drawWalk,
  type Grid,
  MOVES,
  placeAfter,
  successorsOf,
  type Walk,
  walkTokens,
} from "../../synthetic-tasks/rooms/grid.ts";
import { mean } from "../curves.ts";

/** Streams of a seed that no batch of the training is drawn from: of walks, of clusters, and of shuffled places. */
const [WALKS, CLUSTERS, SHUFFLES] = [0xe5000010, 0xe5000011, 0xe5000012];
/** Transitions that are edges of a map. */
const EDGES = { least: 3, most: 1 } as const;
/** Shuffles of the nodes' places whose mean agreement is chance. */
const SHUFFLED = 20;
/** Walks that go through a model together. */
const TOGETHER = 64;

/** The task's parameters that decide about a walk. */
export interface WalkParams extends Grid {
  readonly observations: number;
  readonly moves: number;
  readonly rooms: number;
}

/** Schema of what a map of nodes is worth. */
export const mapValues = z.object({
  /** Nodes that were met. */
  nodes: z.number(),
  /** Agreement of its edges with the room's: precision, recall and their harmonic mean; and that of shuffled places. */
  precision: z.number(),
  recall: z.number(),
  f1: z.number(),
  chance: z.number(),
  /** Share of the problems whose path on the map leads to the goal in the room. */
  reached: z.number(),
  /** Mean length of these paths over the shortest; null where none leads there. */
  ratio: z.number().nullable(),
  /** Share of the problems that as many random moves as the shortest path has solve. */
  random: z.number(),
});
export type MapValues = z.output<typeof mapValues>;

/** Nodes that a model is looked at by: the codes of its bottleneck; clusters of its streams; the observations alone. */
export const NODE_KINDS = ["codes", "inner clusters", "final clusters", "observations"] as const;
export type NodeKind = (typeof NODE_KINDS)[number];

/** Walks of a seed's first room, and how many of them the map is made of: the others are problems, two walks each. */
interface Trip {
  readonly grid: Grid;
  readonly walks: readonly Walk[];
  readonly tokens: readonly Int32Array[];
  readonly mapped: number;
}

/** Sizes of a measurement. */
export interface MapSizes {
  readonly walks: number;
  readonly problems: number;
  /** Clusters of streams. */
  readonly clusters: number;
}

function tripOf(params: WalkParams, seed: number, { walks: mapped, problems }: MapSizes): Trip {
  const room = ambiguousRooms.world(params, seed).rooms[0]!;
  const random = new Random(seed, WALKS);
  const walks = Array.from({ length: mapped + 2 * problems }, () => drawWalk(params, params.moves, random));
  return { grid: params, walks, tokens: walks.map((walk) => walkTokens(room, walk, params.observations)), mapped };
}

/**
 * The map that a model's nodes make of a room: the nodes in the second halves of walks, their transitions, and problems of going from where
 * one walk ended to where another did, both known by their nodes alone.
 */
export async function mapOf(
  model: Model,
  params: WalkParams,
  { seed, kind, ...sizes }: MapSizes & { readonly seed: number; readonly kind: NodeKind },
): Promise<MapValues> {
  const trip = tripOf(params, seed, sizes);
  const nodes = await nodesOf(model, trip, { kind, clusters: sizes.clusters, seed });
  return valueOfMap(trip, nodes, seed);
}

/** Nodes at every observation of walks, counted from 0 in the order in which they are met [moves]. */
async function nodesOf(
  model: Model,
  trip: Trip,
  { kind, clusters, seed }: { kind: NodeKind; clusters: number; seed: number },
): Promise<Int32Array[]> {
  const { tokens } = trip;
  const moves = trip.walks[0]!.moves.length;
  if (kind === "observations")
    return numbered(tokens.map((row) => Array.from({ length: moves }, (_, t) => String(row[2 * t]))));
  if (kind === "codes") {
    const { heads } = model.config.bottleneck!;
    const rows = await inParts(tokens, (part) => codesOf(model, part));
    return numbered(
      rows.map((codes) =>
        Array.from({ length: moves }, (_, t) => codes.subarray(2 * t * heads, (2 * t + 1) * heads).join()),
      ),
    );
  }
  const last = kind === "final clusters";
  const name = last
    ? `blocks.${model.config.n_layers - 1}.hook_resid_post`
    : `blocks.${model.config.n_layers - 1}.hook_resid_pre`;
  const streams = await inParts(tokens, (part) => streamsOf(model, part, name));
  // What the last layer writes is read behind moves alone: there the stream foretells the place that the move leads to.
  const at = (t: number): number => (last ? Math.max(0, 2 * t - 1) : 2 * t);
  const width = model.config.d_model;
  const half = Math.ceil(moves / 2);
  const vectors = new Float32Array(streams.length * (moves - half) * width);
  streams.forEach((stream, w) => {
    for (let t = half; t < moves; t++)
      vectors.set(stream.subarray(at(t) * width, (at(t) + 1) * width), (w * (moves - half) + t - half) * width);
  });
  const { assigned } = kMeans(vectors, width, clusters, new Random(seed, CLUSTERS));
  return streams.map((_, w) =>
    Int32Array.from({ length: moves }, (_, t) => (t < half ? 0 : assigned[w * (moves - half) + t - half]!)),
  );
}

/** Numbers for names, in the order in which they come. */
function numbered(rows: readonly (readonly string[])[]): Int32Array[] {
  const numbers = new Map<string, number>();
  return rows.map((row) =>
    Int32Array.from(row, (name) => {
      const number = numbers.get(name) ?? numbers.size;
      numbers.set(name, number);
      return number;
    }),
  );
}

async function inParts<T>(tokens: readonly Int32Array[], run: (part: number[][]) => Promise<T[]>): Promise<T[]> {
  const results: T[] = [];
  for (let first = 0; first < tokens.length; first += TOGETHER)
    results.push(...(await run(tokens.slice(first, first + TOGETHER).map((row) => [...row]))));
  return results;
}

/** An activation at every token, by row [positions, d_model]. */
async function streamsOf(model: Model, tokens: number[][], name: string): Promise<Float32Array[]> {
  const result = forward(model, { tokens, logitsAt: "none" }, { names: [name] });
  const all = (await result.activations.get(name)!.data()) as Float32Array;
  result.dispose();
  const size = all.length / tokens.length;
  return tokens.map((_, r) => all.slice(r * size, (r + 1) * size));
}

/** Agreement and paths of a map. @param nodes at every observation of the trip's walks; those of the second halves count */
export function valueOfMap(
  { grid, walks, mapped }: Omit<Trip, "tokens">,
  nodes: readonly Int32Array[],
  seed: number,
): MapValues {
  const moves = walks[0]!.moves.length;
  const half = Math.ceil(moves / 2);
  const stretches = walks.slice(0, mapped).map((walk, w) => ({
    nodes: nodes[w]!.subarray(half),
    actions: walk.moves.subarray(half, moves - 1),
    places: walk.places.subarray(half, moves),
  }));
  const count = 1 + nodes.reduce((most, row) => row.subarray(half).reduce((a, b) => Math.max(a, b), most), 0);
  const truth = successorsOf(grid);
  const room = graphOf(truth, MOVES.length);
  const graph = codeGraph(stretches, { nodes: count, actions: MOVES.length }, EDGES);
  const places = placesOf(stretches, count);
  const met = [...places.keys()].filter((node) => places[node]! >= 0);
  const random = new Random(seed, SHUFFLES);
  const shuffled = Array.from({ length: SHUFFLED }, () => {
    const order = random.permutation(met.length);
    const others = places.slice();
    met.forEach((node, i) => {
      others[node] = places[met[order[i]!]!]!;
    });
    return edgeAgreement(graph, others, truth).f1;
  });
  const paths = problemsOf(walks.slice(mapped)).map(({ start, goal, pair }) => {
    const [from, to] = pair.map((w) => nodes[mapped + w]!.at(-1)!) as [number, number];
    const path = shortestPath(graph, from, to);
    const after = (steps: readonly number[]) => steps.reduce((place, move) => placeAfter(grid, place, move), start);
    const best = shortestPath(room, start, goal)!.length;
    const wandering = Array.from({ length: best }, () => random.integer(0, MOVES.length));
    return { ratio: path && after(path) === goal ? path.length / best : undefined, lucky: after(wandering) === goal };
  });
  const ratios = paths.flatMap(({ ratio }) => (ratio === undefined ? [] : [ratio]));
  return {
    nodes: met.length,
    ...edgeAgreement(graph, places, truth),
    chance: mean(shuffled),
    reached: ratios.length / paths.length,
    ratio: ratios.length > 0 ? mean(ratios) : null,
    random: mean(paths.map(({ lucky }) => (lucky ? 1 : 0))),
  };
}

/** Pairs of walks that end at two places. */
function problemsOf(walks: readonly Walk[]): { start: number; goal: number; pair: readonly [number, number] }[] {
  const end = ({ places }: Walk): number => places.at(-2)!; // the last move leads to what is not seen
  return Array.from({ length: walks.length / 2 }, (_, p) => {
    const pair = [2 * p, 2 * p + 1] as const;
    return { start: end(walks[pair[0]]!), goal: end(walks[pair[1]]!), pair };
  }).filter(({ start, goal }) => start !== goal);
}
