import { z } from "zod";
import { counted } from "../../backend/common/text.ts";
import {
  type ClaimResult,
  type ClaimStatement,
  type Experiment,
  seedList,
  type TrainedRun,
  type TrainingPlan,
} from "../base.ts";
import {
  type Curve,
  comesFirst,
  crossing,
  finalValue,
  mean,
  medianOf,
  type Rise,
  rise,
  spread,
  upperEnvelope,
} from "../curves.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS, TOO_CLOSE, vote } from "../verdicts.ts";
import {
  type Emergence,
  emergenceFigure,
  headCurves,
  headsFigure,
  lossFigure,
  orderFigure,
} from "./figures/induction-emergence.ts";

const parameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds, trained together"),
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

/** A seed with what its claims are decided by. */
interface Events extends Emergence {
  /** The in-context accuracy ends at least half way from chance to 1. */
  readonly able: boolean;
  /** Both kinds of head ended with a score that earns the name. */
  readonly formed: boolean;
  readonly rise: Rise;
  /** Steps at which half of the final value is passed. */
  readonly half: Readonly<Record<"accuracy" | "induction" | "previous", number | undefined>>;
}

const UNABLE = "no in-context ability emerged";

/** Decides the claims. @param seeds one each @param chance accuracy of guessing */
export function judge(seeds: readonly Emergence[], chance: number): ClaimResult[] {
  const half = (curve: Curve) => crossing(curve, finalValue(curve) / 2);
  const events = seeds.map(
    (seed): Events => ({
      ...seed,
      able: finalValue(seed.accuracy) >= chance + 0.5 * (1 - chance),
      formed: finalValue(seed.induction) >= FORMED && finalValue(seed.previous) >= FORMED,
      rise: rise(seed.accuracy),
      half: { accuracy: half(seed.accuracy), induction: half(seed.induction), previous: half(seed.previous) },
    }),
  );
  return [phaseChange(events), together(events), previousFirst(events), twoLayers(events), oneLayer(events, chance)];
}

function phaseChange(seeds: readonly Events[]): ClaimResult {
  const abrupt = ({ able, rise: { width } }: Events) => (able ? width !== undefined && width <= ABRUPT : undefined);
  return {
    id: "phase-change",
    measured: {
      "final accuracy, mean": mean(seeds.map((s) => finalValue(s.accuracy))),
      "width, median": medianOf(seeds.map((s) => s.rise.width)),
      "step of the half of the rise": spread(seeds.map((s) => s.rise.half)),
    },
    ...vote(seeds.map(abrupt), "the accuracy rises abruptly", UNABLE),
  };
}

function together(seeds: readonly Events[]): ClaimResult {
  const ratios = seeds.map(({ half }) => ratio(half.induction, half.accuracy));
  const close = (value = 0) => value <= TOGETHER && value >= 1 / TOGETHER;
  return {
    id: "together",
    measured: {
      "step of the half, accuracy": spread(seeds.map((s) => s.half.accuracy)),
      "step of the half, induction score": spread(seeds.map((s) => s.half.induction)),
      "ratio of the two, median": medianOf(ratios),
    },
    ...vote(
      seeds.map(({ able }, i) => (able ? close(ratios[i]) : undefined)),
      "score and accuracy rise together",
      UNABLE,
    ),
  };
}

function previousFirst(seeds: readonly Events[]): ClaimResult {
  const first = ({ formed, half, accuracy }: Events) =>
    formed ? comesFirst(half.previous, half.induction, accuracy.steps) : undefined;
  return {
    id: "previous-token-first",
    measured: {
      "step of the half, previous-token score": spread(seeds.map((s) => s.half.previous)),
      "step of the half, induction score": spread(seeds.map((s) => s.half.induction)),
      "induction's step over previous-token's, median": medianOf(
        seeds.map(({ half }) => ratio(half.induction, half.previous)),
      ),
    },
    ...vote(
      seeds.map(first),
      "the previous-token score rises first",
      seeds.every(({ formed }) => formed) ? TOO_CLOSE : `a head did not form, or ${TOO_CLOSE}`,
    ),
  };
}

function twoLayers(seeds: readonly Events[]): ClaimResult {
  const layers = seeds.map((s) => `${s.layers.previous}, ${s.layers.induction}`);
  return {
    id: "two-layer-circuit",
    measured: {
      "final induction score, mean": mean(seeds.map((s) => finalValue(s.induction))),
      "final previous-token score, mean": mean(seeds.map((s) => finalValue(s.previous))),
      "layers of the best heads (previous-token, induction)": [...new Set(layers)].join("; "),
    },
    ...vote(
      seeds.map(({ able, formed }, i) => (able ? formed && layers[i] === "0, 1" : undefined)),
      "both heads are there, each in its layer",
      UNABLE,
    ),
  };
}

function oneLayer(seeds: readonly Events[], chance: number): ClaimResult {
  const fails = (seed: Events) => finalValue(seed.oneLayer) - chance <= 0.5 * (finalValue(seed.accuracy) - chance);
  return {
    id: "one-layer-fails",
    measured: {
      "final accuracy of one layer, mean": mean(seeds.map((s) => finalValue(s.oneLayer))),
      "final accuracy of two layers, mean": mean(seeds.map((s) => finalValue(s.accuracy))),
      chance,
    },
    ...vote(
      seeds.map((seed) => (seed.able ? fails(seed) : undefined)),
      "one layer gets at most half as far",
      "two layers did not acquire the ability",
    ),
  };
}

function ratio(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a / b;
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

/** The trainings: one layer, and two. */
function plans({ seeds: _, ...rest }: z.output<typeof parameters>): [TrainingPlan, TrainingPlan] {
  const params = { ...rest, optimiser: "adam", checkpoints: 8 };
  const plan = (n_layers: number, probes: readonly string[], label: string): TrainingPlan => ({
    task: "induction",
    params: { ...params, n_layers },
    probes,
    label,
  });
  return [plan(1, [], "one layer"), plan(2, ["induction", "previous-token"], "two layers")];
}

/** Induction heads and in-context ability emerge together, in two layers and not in one. */
export const inductionEmergence: Experiment<typeof parameters> = {
  name: "induction-emergence",
  title: "Induction heads emerge",
  description:
    "Small attention-only transformers of two layers, and of one, learn to continue repeated random tokens. Their in-context " +
    "accuracy, induction scores and previous-token scores are measured over training, and the order of events compared over seeds.",
  source: `${OLSSON}; ${ELHAGE}`,
  trials:
    "The trials by which an early version chose sizes and steps were not written down. No threshold was changed " +
    "since.",
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
  stages: (params) => plans(params).map((plan) => trainingStage(plan, params.seeds)),
  async run(params, { train }) {
    const { seeds, n_heads: heads } = params;
    const [planOfOne, planOfTwo] = plans(params);
    const one = await train(planOfOne, seeds);
    const two = await train(planOfTwo, seeds);
    const emergences = two.map((run, i) => emergenceOf(run, one[i]!, heads));
    const choices = params.vocabulary - 1; // BOS is never to be predicted
    const results = judge(emergences, 1 / choices);
    const figures = [
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
        `Over ${counted(seeds.length, "seed")} the best previous-token score passed half of its final value at step ` +
        `${halves["step of the half, previous-token score"]}, the best induction score at step ` +
        `${halves["step of the half, induction score"]}.`,
    };
  },
};
