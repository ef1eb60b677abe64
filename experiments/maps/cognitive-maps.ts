import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { counted } from "../../backend/common/text.ts";
import { referenceLevels } from "../../backend/training/evaluations.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import { type ClaimResult, type ClaimStatement, type Experiment, type ExperimentContext, lastCheckpoint, type MeasurementPlan, seedList, type TrainedRun, type TrainingPlan } from "../base.ts"; // biome-ignore format: one line
import { type Curve, finalValue, levelLine, mean, meanCaption, meanLine } from "../curves.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";
import { type MapValues, mapOf, mapValues, type NodeKind, type WalkParams } from "./measure.ts";

const DEDIEU = "Dedieu et al. 2024, Learning Cognitive Maps from Transformer Representations";

/** Most accuracy that the bottleneck may cost. */
const COST = 0.05;
/** Accuracy from which a model knows where it is. */
const KNOWS = 0.9;
/** Least agreement of a map's edges with the room's. */
const AGREES = 0.9;
/** Least share of the problems that a map solves, and most mean length of its paths over the shortest. */
const [SOLVES, LENGTH] = [0.9, 1.1];
/** By how much fewer of the problems are solved without the bottleneck. */
const FEWER = 0.2;
/** Least share of Bayes' accuracy in new rooms. */
const OF_BAYES = 0.9;
/** Walks of each evaluation in rooms of their own. */
const ROWS = 256;
/** Work of one model's map, in optimiser steps of one layer. */
const MAPPING = 100;

const parameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds, each with a room of its own"),
  steps: z.int().min(100).default(600).describe("optimiser steps in one room"),
  width: z.int().min(2).default(4).describe("places of the room from left to right"),
  height: z.int().min(2).default(4).describe("places of the room from top to bottom"),
  observations: z.int().min(2).default(6).describe("observations"),
  moves: z.int().min(8).default(24).describe("moves of a walk"),
  n_layers: z.int().min(2).default(2).describe("layers"),
  n_heads: z.int().min(1).default(4).describe("attention heads of a layer"),
  d_model: z.int().min(4).default(48).describe("width of the residual stream"),
  codes: z.int().min(2).default(48).describe("codes of the bottleneck, and clusters of the streams without it"),
  code_heads: z.int().min(1).default(1).describe("parts of the stream with codes of their own"),
  batch: z.int().min(1).default(24).describe("walks of a step"),
  learning_rate: z.number().positive().default(3e-3).describe("Adam's largest learning rate"),
  fresh_steps: z.int().min(0).default(0).describe("optimiser steps where every walk has a room of its own; 0 trains none"),
  fresh_width: z.int().min(2).default(4).describe("places of such a room from left to right, and from top to bottom"),
  walks: z.int().min(16).default(512).describe("walks of which a map is made"),
  problems: z.int().min(16).default(200).describe("pairs of walks, from the end of one of which a path is searched to that of the other"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const claims: readonly ClaimStatement[] = [
  {
    id: "predicts",
    statement: "With a discrete bottleneck a transformer foretells observations as well as without.",
    source: DEDIEU,
    check: `Its accuracy on returns to a place is at most ${COST} below that of the transformer without, ${QUORUM_WORDS}. A seed where that one has less than ${KNOWS} cannot say.`,
  },
  {
    id: "map",
    statement: "The bottleneck's transition graph is the room's.",
    source: DEDIEU,
    check: `The edges between codes agree with the room's (harmonic mean of precision and recall) by at least ${AGREES}, ${QUORUM_WORDS}. A seed whose model has less than ${KNOWS} accuracy cannot say.`,
  },
  {
    id: "paths",
    statement: "Shortest paths on that graph reach the goal in about as few moves as can be.",
    source: DEDIEU,
    check: `At least ${SOLVES} of the paths lead to the goal, and these are at most ${LENGTH} times as long as the shortest on average, ${QUORUM_WORDS}. A seed whose model has less than ${KNOWS} accuracy cannot say.`,
  },
  {
    id: "not-without",
    statement: "A plain transformer's streams give no such map.",
    source: DEDIEU,
    check: `As many clusters of its streams as there are codes, before the last layer or behind it, whichever is better, solve at least ${FEWER} fewer of the problems, ${QUORUM_WORDS}. A seed where the codes solve less than ${SOLVES} cannot say.`,
  },
  {
    id: "new-rooms",
    statement: "Trained on walks that each have their own room, it foretells in rooms that it has never seen.",
    source: DEDIEU,
    check: `Its accuracy on returns in new rooms is at least ${OF_BAYES} of Bayes' predictor's, ${QUORUM_WORDS}. Without such a training nothing can be said.`,
  },
]; // biome-ignore format: a sentence a line

/** One seed's accuracies on returns, and its maps by kind of node. */
export interface MapSeed {
  readonly accuracy: { readonly bottleneck: number; readonly plain: number };
  readonly maps: Readonly<Record<NodeKind, MapValues>>;
  /** In new rooms: the model's and Bayes' accuracy. */
  readonly fresh?: { readonly model: number; readonly bayes: number } | undefined;
}

/** The better map of a plain transformer's clusters. */
const clustered = ({ maps }: MapSeed): MapValues =>
  maps["inner clusters"].reached >= maps["final clusters"].reached ? maps["inner clusters"] : maps["final clusters"];

/** Decides the claims. @param seeds one each */
export function judge(seeds: readonly MapSeed[]): ClaimResult[] {
  const codes = (value: (map: MapValues) => number) => mean(seeds.map(({ maps }) => value(maps.codes)));
  const known = (seed: MapSeed, passes: boolean) => (seed.accuracy.bottleneck >= KNOWS ? passes : undefined);
  const lost = `the model has an accuracy below ${KNOWS}: it does not know where it is`;
  const ratios = seeds.flatMap(({ maps }) => maps.codes.ratio ?? []);
  const fresh = seeds.flatMap((seed) => seed.fresh ?? []);
  return [
    {
      id: "predicts",
      measured: { "accuracy, mean": mean(seeds.map(({ accuracy }) => accuracy.bottleneck)), "accuracy without bottleneck, mean": mean(seeds.map(({ accuracy }) => accuracy.plain)) },
      ...vote(
        seeds.map(({ accuracy }) => (accuracy.plain >= KNOWS ? accuracy.bottleneck >= accuracy.plain - COST : undefined)),
        "the bottleneck costs little",
        `the transformer without a bottleneck has an accuracy below ${KNOWS}`,
      ),
    },
    {
      id: "map",
      measured: {
        "agreement, mean": codes(({ f1 }) => f1), "precision, mean": codes(({ precision }) => precision), "recall, mean": codes(({ recall }) => recall),
        "agreement of shuffled places (chance), mean": codes(({ chance }) => chance), "codes in use, mean": codes(({ nodes }) => nodes),
        "agreement of clusters without bottleneck, mean": mean(seeds.map((seed) => clustered(seed).f1)),
        "agreement of observations alone, mean": mean(seeds.map(({ maps }) => maps.observations.f1)),
      },
      ...vote(seeds.map((seed) => known(seed, seed.maps.codes.f1 >= AGREES)), "the graph is the room's", lost),
    },
    {
      id: "paths",
      measured: { "goals reached, mean": codes(({ reached }) => reached), "length over the shortest, mean": ratios.length > 0 ? mean(ratios) : null, "goals reached by random moves, mean": codes(({ random }) => random) },
      ...vote(
        seeds.map((seed) => known(seed, seed.maps.codes.reached >= SOLVES && (seed.maps.codes.ratio ?? Number.POSITIVE_INFINITY) <= LENGTH)),
        "paths reach the goal and are short",
        lost,
      ),
    },
    {
      id: "not-without",
      measured: { "goals reached by clusters, mean": mean(seeds.map((seed) => clustered(seed).reached)), "goals reached by observations alone, mean": mean(seeds.map(({ maps }) => maps.observations.reached)) },
      ...vote(
        seeds.map((seed) => (seed.maps.codes.reached >= SOLVES ? clustered(seed).reached <= seed.maps.codes.reached - FEWER : undefined)),
        "clusters solve fewer problems",
        "the codes solve too few themselves",
      ),
    },
    {
      id: "new-rooms",
      measured: fresh.length > 0 ? { "accuracy in new rooms, mean": mean(fresh.map(({ model }) => model)), "Bayes' accuracy there, mean": mean(fresh.map(({ bayes }) => bayes)) } : {},
      ...vote(
        seeds.map((seed) => (seed.fresh ? seed.fresh.model >= OF_BAYES * seed.fresh.bayes : undefined)),
        "the model is near Bayes' predictor in new rooms",
        "no model was trained on walks with rooms of their own: the full preset does (fresh_steps)",
      ),
    },
  ];
} // biome-ignore format: a claim a block

const LABELS = { bottleneck: "with a bottleneck", plain: "without", fresh: "rooms of their own" } as const;
type Arm = keyof typeof LABELS;
const MAPS = "maps";
const KINDS: Readonly<Record<Exclude<Arm, "fresh">, readonly NodeKind[]>> = {
  bottleneck: ["codes", "observations"],
  plain: ["inner clusters", "final clusters"],
};

function planOf(params: Params, arm: Arm): TrainingPlan {
  const { width, height, observations, moves, n_layers, n_heads, d_model, codes, code_heads, batch, learning_rate } = params;
  const steps = arm === "fresh" ? params.fresh_steps : params.steps;
  const own = { n_layers, n_heads, d_model, attn_only: false, readout_hidden: [4 * d_model] };
  const walk = arm === "fresh" ? { width: params.fresh_width, height: params.fresh_width, observations, moves, rooms: 0, evaluation_rows: ROWS } : { width, height, observations, moves, rooms: 1 };
  const bottleneck = arm === "plain" ? {} : { codes, code_heads, code_restart: Math.max(1, Math.floor(steps / 40)) };
  const training = { steps, batch, learning_rate, schedule: "cosine", warmup: Math.min(100, Math.floor(steps / 10)), clip: 1, points: 16, spacing: "linear", checkpoints: 2 };
  return { task: "ambiguous-rooms", params: { ...walk, ...own, ...bottleneck, ...training }, label: LABELS[arm] };
} // biome-ignore format: one line

/** Arms that are trained. */
const armsOf = ({ fresh_steps }: Params): Arm[] => [
  "bottleneck",
  "plain",
  ...(fresh_steps > 0 ? (["fresh"] as const) : []),
];

function mapPlan(
  run: TrainedRun,
  kind: NodeKind,
  { walks, problems, codes }: Params,
): MeasurementPlan<typeof mapValues> {
  const sizes = { walks, problems, clusters: codes };
  const own = run.taskParams as unknown as WalkParams;
  return {
    name: "map",
    label: MAPS,
    model: lastCheckpoint(run),
    settings: { taskParams: run.taskParams, seed: run.seed, kind, ...sizes, revision: 3 },
    values: mapValues,
    measure: (model) => mapOf(model, own, { seed: run.seed, kind, ...sizes }),
  };
}

async function mapsOf(runs: Readonly<Record<"bottleneck" | "plain", readonly TrainedRun[]>>, params: Params, context: ExperimentContext): Promise<MapSeed["maps"][]> {
  const plans = (["bottleneck", "plain"] as const).flatMap((arm) =>
    runs[arm].flatMap((run, s) => KINDS[arm].map((kind) => ({ s, kind, plan: mapPlan(run, kind, params) }))));
  const values = await context.measure(plans.map(({ plan }) => plan));
  return params.seeds.map((_, seed) =>
    Object.fromEntries(plans.flatMap(({ s, kind }, i) => (s === seed ? [[kind, values[i]!]] : []))) as MapSeed["maps"]);
} // biome-ignore format: a line a step

/** Bayes' accuracy on the rows on which a run is evaluated. */
function bayesAccuracy({ taskParams, seed }: TrainedRun): number {
  const spec = { params: taskParams, training: { evaluation_rows: ROWS } };
  return referenceLevels(tasks.get("ambiguous-rooms"), spec, seed)["new-rooms"]!.accuracy!;
}

const curveOf = (run: TrainedRun, split: string): Curve => run.curves.get(`${split}.accuracy`)!;

function accuracyFigure(runs: Partial<Record<Arm, readonly TrainedRun[]>>, params: Params): LineFigure {
  const arms = Object.entries(runs) as [Arm, readonly TrainedRun[]][];
  const longest = arms.map(([, own]) => curveOf(own[0]!, "returns").steps).reduce((a, b) => (a.at(-1)! >= b.at(-1)! ? a : b));
  return {
    kind: "lines",
    name: "accuracy",
    title: "Observations at places where the walk has been",
    caption: `${meanCaption(params.seeds.length)} Second halves of fresh walks; rooms of their own are rooms never seen before.`,
    x: { title: "step", whole: true },
    y: { title: "accuracy", range: [0, 1] },
    lines: [
      ...arms.map(([arm, own]) => meanLine(LABELS[arm], own.map((run) => curveOf(run, "returns")))),
      levelLine("chance", longest, 1 / params.observations),
      levelLine("ceiling", longest, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line

function mapFigure(seeds: readonly MapSeed[]): LineFigure {
  const kinds = ["codes", "inner clusters", "final clusters", "observations"] as const;
  const x = kinds.map((_, i) => i + 1);
  const dots = (name: string, value: (map: MapValues) => number): LineFigure["lines"][number] => {
    const { band, ...line } = meanLine(name, seeds.map(({ maps }): Curve => ({ steps: x, values: kinds.map((kind) => value(maps[kind])) })));
    return { ...line, points: true, joined: false, ...(band && { whiskers: band }) };
  };
  return {
    kind: "lines",
    name: "maps",
    title: "Maps made of codes, of clusters and of observations",
    caption: `Means of ${counted(seeds.length, "seed")} with their 95 % intervals. 1: codes of the bottleneck; 2: clusters of a plain transformer's streams before the last layer; 3: behind it; 4: observations.`,
    x: { title: "nodes of the map", whole: true },
    y: { title: "share", range: [0, 1] },
    lines: [
      dots("goals reached", ({ reached }) => reached),
      dots("agreement of edges", ({ f1 }) => f1),
      dots("agreement of shuffled places (chance)", ({ chance }) => chance),
      dots("goals reached by random moves (chance)", ({ random }) => random),
      levelLine("ceiling", x, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line

/** Maps of rooms whose places look alike, in the codes of a transformer with a discrete bottleneck. */
export const cognitiveMaps: Experiment<typeof parameters> = {
  name: "cognitive-maps",
  title: "Cognitive maps in a discrete bottleneck",
  description:
    "Transformers foretell what a random walk sees in a room where places look alike, with and without a discrete bottleneck between the history and " +
    "the next move. The graph of the bottleneck's codes beside the room, and paths that are searched on it, against clusters of a plain transformer's " +
    "streams.",
  source: DEDIEU,
  trials:
    "Seed 0 of a larger room was trained for 600 steps and looked at; edges are the likeliest transition alone " +
    "after that comparison, and the room, walks, batches and codes were made smaller. No threshold was changed, and " +
    "the smaller room was not trained before the run.",
  parameters,
  presets: {
    quick: {},
    full: { steps: 20_000, width: 20, height: 15, observations: 12, moves: 128, n_layers: 4, n_heads: 8, d_model: 128, codes: 1000, batch: 32, fresh_steps: 20_000, walks: 2000 },
  },
  claims,
  stages: (params) => [
    ...armsOf(params).map((arm) => trainingStage(planOf(params, arm), params.seeds)),
    { label: MAPS, work: MAPPING * 4 * params.seeds.length },
  ],
  async run(params, context) {
    for (const arm of armsOf(params)) context.check(planOf(params, arm), params.seeds);
    const bottleneck = await context.train(planOf(params, "bottleneck"), params.seeds);
    const plain = await context.train(planOf(params, "plain"), params.seeds);
    const fresh = params.fresh_steps > 0 ? await context.train(planOf(params, "fresh"), params.seeds) : undefined;
    const maps = await mapsOf({ bottleneck, plain }, params, context);
    const seeds = params.seeds.map((_, s): MapSeed => ({
      accuracy: { bottleneck: finalValue(curveOf(bottleneck[s]!, "returns")), plain: finalValue(curveOf(plain[s]!, "returns")) },
      maps: maps[s]!,
      fresh: fresh && { model: finalValue(curveOf(fresh[s]!, "new-rooms")), bayes: bayesAccuracy(fresh[s]!) },
    }));
    return { claims: judge(seeds), figures: [mapFigure(seeds), accuracyFigure({ bottleneck, plain, ...(fresh && { fresh }) }, params)] };
  },
}; // biome-ignore format: a line a step
