import { z } from "zod";
import type { Figure, HeatmapFigure, LineFigure } from "../backend/reports/figure.ts";
import type { ClaimResult, ClaimStatement, Experiment, TrainedRun } from "./base.ts";
import {
  type Curve,
  comesFirst,
  crossing,
  finalValue,
  mean,
  meanLine,
  median,
  rise,
  spread,
  upperEnvelope,
} from "./curves.ts";
import { QUORUM_WORDS, TOO_CLOSE, tally, vote } from "./verdicts.ts";

const parameters = z.object({
  seeds: z.array(z.int().min(0)).min(1).default([0, 1, 2, 3]).describe("seeds, trained together"),
  steps: z.int().min(100).default(1200).describe("optimiser steps"),
  points: z.int().min(20).default(120).describe("steps at which everything is measured, log-spaced"),
  batch: z.int().min(1).default(32).describe("sequences of a step"),
  learning_rate: z.number().positive().default(3e-3).describe("Adam's learning rate"),
  context: z.int().min(16).default(64).describe("tokens of a sequence"),
  vocabulary: z.int().min(3).default(64).describe("token ids"),
  n_heads: z.int().min(1).default(4).describe("attention heads of a layer"),
  d_model: z.int().min(1).default(64).describe("width of the residual stream"),
  evaluation_rows: z.int().min(16).default(64).describe("sequences of each evaluation"),
});

/** Largest width of a rise, see `Rise.width`, that counts as abrupt. */
const ABRUPT = 0.5;
/** Largest ratio of two steps that count as simultaneous. */
const TOGETHER = 1.25;
/** Least score of a head that is called an induction or previous-token head. */
const FORMED = 0.5;

const OLSSON = "Olsson et al. 2022, In-context Learning and Induction Heads";
const ELHAGE = "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits";

const claims: readonly ClaimStatement[] = [
  {
    id: "phase-change",
    statement: "The ability to learn in context appears abruptly, in a phase change.",
    source: `${OLSSON}, argument 1`,
    check:
      `The in-context accuracy's rise from a quarter to three quarters takes at most ${ABRUPT} times the step of its ` +
      `half (1 would be a steady rise from the start), ${QUORUM_WORDS}. A seed whose accuracy ends less than half way ` +
      "from chance to 1 cannot say.",
  },
  {
    id: "together",
    statement: "Induction heads form at the same time as the ability.",
    source: `${OLSSON}, argument 1`,
    check:
      "The best induction score of the second layer and the in-context accuracy pass half of their final values within " +
      `a factor of ${TOGETHER} in steps, ${QUORUM_WORDS}.`,
  },
  {
    id: "previous-token-first",
    statement: "The previous-token head, which the induction head reads, forms before it.",
    source: `Expected of K-composition: what a head reads must be there (${ELHAGE})`,
    check:
      "The best previous-token score of the first layer passes half of its final value at an earlier step than the best " +
      `induction score of the second layer, with at least two measurements between, ${QUORUM_WORDS}. A seed ` +
      `where either ends below ${FORMED}, or where they come closer together, cannot say.`,
  },
  {
    id: "two-layer-circuit",
    statement: "The circuit spans two layers: a previous-token head in the first, an induction head in the second.",
    source: ELHAGE,
    check:
      `At the end the best previous-token head is in the first layer, the best induction head in the second, and both ` +
      `score at least ${FORMED}, ${QUORUM_WORDS}. A seed without the ability cannot say.`,
  },
  {
    id: "one-layer-fails",
    statement: "A model of one layer has no induction heads and does not acquire the ability.",
    source: `${OLSSON}, argument 2; ${ELHAGE}`,
    check:
      "The in-context accuracy of one layer, trained alike, ends at most half as far above chance as that of two, " +
      `${QUORUM_WORDS}. A seed whose two layers lack the ability cannot say.`,
  },
];

/** What is judged of a seed. */
export interface Emergence {
  /** In-context accuracy of two layers. */
  readonly accuracy: Curve;
  /** Best induction score of the second layer. */
  readonly induction: Curve;
  /** Best previous-token score of the first layer. */
  readonly previous: Curve;
  /** Layer of the head with the best final score of each kind. */
  readonly layers: { readonly induction: number; readonly previous: number };
  /** In-context accuracy of one layer. */
  readonly oneLayer: Curve;
}

/** Decides the claims. @param seeds one each @param chance accuracy of guessing */
export function judge(seeds: readonly Emergence[], chance: number): ClaimResult[] {
  const able = (seed: Emergence) => finalValue(seed.accuracy) >= chance + 0.5 * (1 - chance);
  const formed = ({ induction, previous }: Emergence) =>
    finalValue(induction) >= FORMED && finalValue(previous) >= FORMED;
  const half = (curve: Curve) => crossing(curve, finalValue(curve) / 2);
  const halves = seeds.map(({ accuracy, induction, previous }) => ({
    accuracy: half(accuracy),
    induction: half(induction),
    previous: half(previous),
  }));
  const rises = seeds.map(({ accuracy }) => rise(accuracy));
  const ratio = (a = Number.NaN, b = Number.NaN) => Math.max(a, b) / Math.min(a, b);
  const without = "no in-context ability emerged";
  const medianOf = (values: readonly (number | undefined)[]) => {
    const known = values.filter((value) => value !== undefined);
    return known.length > 0 ? median(known) : null;
  };
  const leads = halves.map(({ previous, induction }) => ratioOf(induction, previous));
  return [
    {
      id: "phase-change",
      measured: {
        "final accuracy, mean": mean(seeds.map((s) => finalValue(s.accuracy))),
        "width, median": medianOf(rises.map(({ width }) => width)),
        "step of the half": spread(rises.map((r) => r.half)),
      },
      ...vote(seeds.map((seed, i) => (able(seed) ? (rises[i]!.width ?? 0) <= ABRUPT && rises[i]!.half !== undefined : undefined)), "the accuracy rises abruptly", without), // biome-ignore format: one line
    },
    {
      id: "together",
      measured: {
        "step of the half, accuracy": spread(halves.map((h) => h.accuracy)),
        "step of the half, induction score": spread(halves.map((h) => h.induction)),
        "ratio of the two, median": medianOf(halves.map((h) => ratioOf(h.induction, h.accuracy))),
      },
      ...vote(seeds.map((seed, i) => (able(seed) ? ratio(halves[i]!.accuracy, halves[i]!.induction) <= TOGETHER : undefined)), "score and accuracy rise together", without), // biome-ignore format: one line
    },
    {
      id: "previous-token-first",
      measured: {
        "step of the half, previous-token score": spread(halves.map((h) => h.previous)),
        "step of the half, induction score": spread(halves.map((h) => h.induction)),
        "induction's step over previous-token's, median": medianOf(leads),
      },
      ...vote(seeds.map((seed, i) => (formed(seed) ? comesFirst(halves[i]!.previous, halves[i]!.induction, seed.accuracy.steps) : undefined)), "the previous-token score rises first", seeds.every(formed) ? TOO_CLOSE : `a head did not form, or ${TOO_CLOSE}`), // biome-ignore format: one line
    },
    {
      id: "two-layer-circuit",
      measured: {
        "final induction score, mean": mean(seeds.map((s) => finalValue(s.induction))),
        "final previous-token score, mean": mean(seeds.map((s) => finalValue(s.previous))),
        "layers of the best heads (previous-token, induction)": [...new Set(seeds.map(({ layers }) => `${layers.previous}, ${layers.induction}`))].join("; "), // biome-ignore format: one line
      },
      ...vote(seeds.map((seed) => (able(seed) ? formed(seed) && seed.layers.previous === 0 && seed.layers.induction === 1 : undefined)), "both heads are there, each in its layer", without), // biome-ignore format: one line
    },
    {
      id: "one-layer-fails",
      measured: {
        "final accuracy of one layer, mean": mean(seeds.map((s) => finalValue(s.oneLayer))),
        "final accuracy of two layers, mean": mean(seeds.map((s) => finalValue(s.accuracy))),
        chance,
      },
      ...vote(seeds.map((seed) => (able(seed) ? finalValue(seed.oneLayer) - chance <= 0.5 * (finalValue(seed.accuracy) - chance) : undefined)), "one layer gets at most half as far", "two layers did not acquire the ability"), // biome-ignore format: one line
    },
  ];
}

function ratioOf(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a / b;
}

/** The curves of a probe's heads in one layer. */
function headCurves({ curves }: TrainedRun, probe: string, layer: number, heads: number): Curve[] {
  return Array.from({ length: heads }, (_, head) => curves.get(`${probe}.${probe}[${layer}.${head}]`)!);
}

function emergenceOf(two: TrainedRun, one: TrainedRun, heads: number): Emergence {
  const best = (probe: string) => [0, 1].map((layer) => upperEnvelope(headCurves(two, probe, layer, heads)));
  const [induction, previous] = [best("induction"), best("previous-token")];
  const layerOf = ([first, second]: Curve[]) => (finalValue(first!) >= finalValue(second!) ? 0 : 1);
  return {
    accuracy: two.curves.get("in-context.accuracy")!,
    induction: induction[1]!,
    previous: previous[0]!,
    layers: { induction: layerOf(induction), previous: layerOf(previous) },
    oneLayer: one.curves.get("in-context.accuracy")!,
  };
}

function emergenceFigure(seeds: readonly Emergence[], chance: number): LineFigure {
  const halfOf = (of: (seed: Emergence) => Curve) => seeds.map(of).flatMap((c) => crossing(c, finalValue(c) / 2) ?? []);
  const marks = [
    { label: "previous-token", steps: halfOf((s) => s.previous) },
    { label: "induction", steps: halfOf((s) => s.induction) },
    { label: "accuracy", steps: halfOf((s) => s.accuracy) },
  ].flatMap(({ label, steps }) => (steps.length > 0 ? [{ label, x: median(steps) }] : []));
  const { steps } = seeds[0]!.accuracy;
  return {
    kind: "lines",
    name: "emergence",
    title: "In-context accuracy and head scores over training",
    caption: `Mean of ${seeds.length} seeds, bands from the lowest to the highest. Marks: median step at which half of the final value is passed.`,
    x: { title: "training step", log: true },
    y: { title: "accuracy or score", range: [0, 1] },
    lines: [
      meanLine("in-context accuracy", seeds.map((s) => s.accuracy)),
      meanLine("best induction score, layer 1", seeds.map((s) => s.induction)),
      meanLine("best previous-token score, layer 0", seeds.map((s) => s.previous)),
      { ...meanLine("in-context accuracy of one layer", seeds.map((s) => s.oneLayer)), dashed: true },
      { name: "chance", x: [...steps], y: steps.map(() => chance), dashed: true },
    ],
    marks,
  }; // biome-ignore format: a line of the figure a line
}

function orderFigure(runs: readonly TrainedRun[], seeds: readonly Emergence[]): LineFigure {
  const line = (name: string, of: (seed: Emergence) => Curve): LineFigure["lines"][number] => ({
    name,
    x: runs.map(({ seed }) => seed),
    y: seeds.map((seed) => crossing(of(seed), finalValue(of(seed)) / 2) ?? null),
    points: true,
  });
  return {
    kind: "lines",
    name: "order",
    title: "Step at which half of the final value is passed, by seed",
    x: { title: "seed" },
    y: { title: "training step", log: true },
    lines: [
      line("in-context accuracy", (s) => s.accuracy),
      line("best induction score, layer 1", (s) => s.induction),
      line("best previous-token score, layer 0", (s) => s.previous),
    ],
  };
}

function lossFigure(runs: readonly TrainedRun[], chance: number): LineFigure {
  const curves = (name: string) => runs.map((run) => run.curves.get(name)!);
  const { steps } = curves("in-context.loss")[0]!;
  return {
    kind: "lines",
    name: "loss",
    title: "Loss on the repetition and on the first copy",
    caption: "The first copy is random: nothing can predict it, and its loss stays at that of guessing.",
    x: { title: "training step", log: true },
    y: { title: "loss (nats)" },
    lines: [
      meanLine("repetition", curves("in-context.loss")),
      meanLine("first copy", curves("first-copy.loss")),
      { name: "guessing", x: [...steps], y: steps.map(() => chance), dashed: true },
    ],
  };
}

function headsFigure(runs: readonly TrainedRun[], heads: number): HeatmapFigure {
  const probes = ["previous-token", "induction"];
  const columns = runs.flatMap((run) => probes.map((probe) => ({ run, probe })));
  const cells = [0, 1].flatMap((layer) => Array.from({ length: heads }, (_, head) => ({ layer, head })));
  return {
    kind: "heatmap",
    name: "heads",
    title: "Scores of every head at the end",
    x: { title: "seed and score", labels: columns.map(({ run, probe }) => `${run.seed} ${probe}`) },
    y: { title: "head (layer.head)", labels: cells.map(({ layer, head }) => `${layer}.${head}`) },
    z: cells.map(({ layer, head }) => columns.map(({ run, probe }) => finalValue(headCurves(run, probe, layer, heads)[head]!))), // biome-ignore format: one line
    scale: { title: "score", range: [0, 1] },
  };
}

/** Induction heads and in-context ability emerge together, in two layers and not in one. */
export const inductionEmergence: Experiment<typeof parameters> = {
  name: "induction-emergence",
  title: "Induction heads emerge",
  description:
    "Small attention-only transformers of two layers, and of one, learn to continue repeated random tokens. Their in-context " +
    "accuracy, induction scores and previous-token scores are measured over training, and the order of events compared over seeds.",
  source: `${OLSSON}; ${ELHAGE}`,
  parameters,
  presets: {
    quick: {},
    full: {
      seeds: [0, 1, 2, 3, 4, 5, 6, 7],
      steps: 10_000,
      points: 160,
      batch: 64,
      learning_rate: 1e-3,
      context: 128,
      vocabulary: 256,
      d_model: 128,
      evaluation_rows: 512,
    },
  },
  claims,
  async run(params, { train }) {
    const { seeds, n_heads: heads, ...rest } = params;
    const plan = {
      task: "induction",
      params: { ...rest, n_heads: heads, optimiser: "adam", checkpoints: 8 },
      probes: ["induction", "previous-token"],
    };
    const one = await train(
      { ...plan, params: { ...plan.params, n_layers: 1 }, probes: [], label: "one layer" },
      seeds,
    );
    const two = await train({ ...plan, params: { ...plan.params, n_layers: 2 }, label: "two layers" }, seeds);
    const emergences = two.map((run, i) => emergenceOf(run, one[i]!, heads));
    const choices = params.vocabulary - 1; // BOS is never to be predicted
    const results = judge(emergences, 1 / choices);
    const figures: Figure[] = [
      emergenceFigure(emergences, 1 / choices),
      orderFigure(two, emergences),
      lossFigure(two, Math.log(choices)),
      headsFigure(two, heads),
    ];
    const halves = results.find(({ id }) => id === "previous-token-first")!.measured;
    return {
      claims: results,
      figures,
      summary:
        `${tally(results)}. Over ${seeds.length} seeds the best previous-token score passed half of its final value at step ` +
        `${halves["step of the half, previous-token score"]}, the best induction score at step ` +
        `${halves["step of the half, induction score"]}.`,
    };
  },
};
