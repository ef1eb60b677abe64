import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { FRAGMENTS, PLAIN, TRUTHS } from "../../synthetic-tasks/reasoning/fragments.ts";
import { logicFragments } from "../../synthetic-tasks/reasoning/logic-fragments.ts";
import { type ClaimResult, type ClaimStatement, type ExperimentContext, type ExperimentStage, type Finding, lastCheckpoint, type TrainedRun, type TrainingPlan } from "../base.ts"; // biome-ignore format: one line
import { type Curve, crossing, levelLine, mean, meanCaption, meanLine, spread } from "../curves.ts";
import { meansLine } from "../intervals.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";

/** Parameters of the toys. */
export const toyParameters = z.object({
  steps: z.int().min(100).default(2000).describe("toys: optimiser steps of the first training, on plain inference"),
  tuning_steps: z.int().min(20).default(500).describe("toys: optimiser steps of a fine-tuning"),
  plain_share: z.number().gt(0).lt(1).default(0.5).describe("toys: share of plain inference in the fine-tuning on the mix"),
  n_layers: z.int().min(1).default(2).describe("toys: layers"),
  n_heads: z.int().min(1).default(4).describe("toys: attention heads of a layer"),
  d_model: z.int().min(4).default(64).describe("toys: width of the residual stream"),
  batch: z.int().min(1).default(64).describe("toys: questions of a step"),
  learning_rate: z.number().positive().default(2e-3).describe("toys: largest learning rate of every training"),
  evaluation_rows: z.int().min(30).default(256).describe("toys: questions of each evaluation, which no training shows"),
}); // biome-ignore format: a table
/** Values of `toyParameters`, and the seeds. */
export type ToyParams = z.output<typeof toyParameters> & { readonly seeds: readonly number[] };

/** Least accuracy of a toy that is able in plain inference, and of one that masters the fragments. */
const ABLE = 0.9;
/** Least difference of accuracies that counts as doing poorly. */
const POOR = 0.15;
/** Largest share of the first training's steps by which the fragments are mastered soon. */
const SOON = 0.25;
/** Largest fall of the accuracy on plain inference of a toy that keeps it. */
const KEPT = 0.05;

const RICHARDSON = "Richardson et al. 2020, Probing Natural Language Inference Models through Semantic Fragments";
const UNABLE = `A seed whose toy has less than ${ABLE} on plain inference cannot say.`;

/** Claims about toys. */
export const toyClaims: readonly ClaimStatement[] = [
  {
    id: "toy-poor",
    statement: "A toy that is able in plain inference does poorly on fragments of logic.",
    source: RICHARDSON,
    check: `Trained on plain inference alone, its mean accuracy over the ${FRAGMENTS.length} fragments is at least ${POOR} below that on plain inference, ${QUORUM_WORDS}. ${UNABLE}`,
    extent: "steps",
  },
  {
    id: "toy-mastered",
    statement: "A short fine-tuning masters the fragments.",
    source: RICHARDSON,
    check:
      `Fine-tuned on fragments alone, its mean accuracy over them passes ${ABLE} within ${SOON} of the steps of the first training, and ends there or above, ` +
      `${QUORUM_WORDS}. ${UNABLE}`,
    extent: "steps",
  },
  {
    id: "toy-inoculated",
    statement: "Fine-tuning on fragments mixed with plain inference masters the fragments and keeps plain inference.",
    source: `${RICHARDSON}: without loss on the benchmarks`,
    check:
      `Fine-tuned on the mix, its accuracy on plain inference ends at most ${KEPT} below that before, and its mean accuracy over the fragments at ` +
      `${ABLE} or above, ${QUORUM_WORDS}. ${UNABLE}`,
    extent: "steps",
  },
]; // biome-ignore format: sentences

/** Trainings of a toy: first one on plain inference, then from there either of the others. */
const WAYS = ["plain", "alone", "mixed"] as const;
type Way = (typeof WAYS)[number];

const LOGIC = FRAGMENTS.map(({ name }) => name);
const ALL = [PLAIN.name, ...LOGIC];

/** Accuracies of a training by fragment, plain inference among them. */
export type FragmentCurves = Readonly<Record<string, Curve>>;
/** A seed's trainings. */
export type ToySeed = Readonly<Record<Way, FragmentCurves>>;

const last = ({ values }: Curve): number => values.at(-1)!;

/** Mean accuracy over the fragments along a training. */
function logicCurve(curves: FragmentCurves): Curve {
  const { steps } = curves[LOGIC[0]!]!;
  return { steps, values: steps.map((_, i) => mean(LOGIC.map((name) => curves[name]!.values[i]!))) };
}

/** Decides the claims. @param seeds one each @param steps of the first training */
export function judgeToys(seeds: readonly ToySeed[], steps: number): ClaimResult[] {
  const plain = (seed: ToySeed, way: Way) => last(seed[way][PLAIN.name]!);
  const logic = (seed: ToySeed, way: Way) => last(logicCurve(seed[way]));
  const mastered = (seed: ToySeed) => crossing(logicCurve(seed.alone), ABLE);
  const ifAble = (holds: (seed: ToySeed) => boolean) =>
    seeds.map((seed) => (plain(seed, "plain") >= ABLE ? holds(seed) : undefined));
  const over = (of: (seed: ToySeed) => number) => seeds.map((seed) => of(seed).toFixed(2)).join(", ");
  const byFragment = (way: Way) => LOGIC.map((name) => `${name} ${mean(seeds.map((seed) => last(seed[way][name]!))).toFixed(2)}`).join(", "); // biome-ignore format: one line
  const unable = "the toy is not able in plain inference";
  const bounds = { "chance": 1 / TRUTHS.length, "full score": 1 };
  return [
    {
      id: "toy-poor",
      measured: {
        "accuracy on plain inference, by seed": over((seed) => plain(seed, "plain")),
        "accuracy on fragments, by seed": over((seed) => logic(seed, "plain")),
        "by fragment": byFragment("plain"),
        ...bounds,
      },
      ...vote(ifAble((seed) => plain(seed, "plain") - logic(seed, "plain") >= POOR), "the fragments go that much worse", unable),
    },
    {
      id: "toy-mastered",
      measured: {
        "accuracy on fragments, by seed": over((seed) => logic(seed, "alone")),
        "by fragment": byFragment("alone"),
        [`steps to ${ABLE}`]: spread(seeds.map(mastered)),
        "steps of the first training": steps,
        "accuracy on plain inference behind it, by seed": over((seed) => plain(seed, "alone")),
        ...bounds,
      },
      ...vote(
        ifAble((seed) => logic(seed, "alone") >= ABLE && (mastered(seed) ?? Number.POSITIVE_INFINITY) <= SOON * steps),
        "the fragments are mastered that soon",
        unable,
      ),
    },
    {
      id: "toy-inoculated",
      measured: {
        "accuracy on plain inference, by seed": over((seed) => plain(seed, "mixed")),
        "before, by seed": over((seed) => plain(seed, "plain")),
        "fine-tuned on fragments alone, by seed": over((seed) => plain(seed, "alone")),
        "accuracy on fragments, by seed": over((seed) => logic(seed, "mixed")),
        "by fragment": byFragment("mixed"),
        ...bounds,
      },
      ...vote(
        ifAble((seed) => plain(seed, "mixed") >= plain(seed, "plain") - KEPT && logic(seed, "mixed") >= ABLE),
        "plain inference is kept and the fragments are mastered",
        unable,
      ),
    },
  ];
} // biome-ignore format: a value a line

/** The first training, on plain inference. */
function firstPlan(params: ToyParams) {
  const { steps, n_layers, n_heads, d_model, batch, learning_rate, evaluation_rows } = params;
  const training = { steps, batch, learning_rate, schedule: "cosine", warmup: Math.round(steps / 20), clip: 1, points: 10, checkpoints: 1, evaluation_rows };
  return {
    task: logicFragments.name,
    params: { fragments: [PLAIN.name], n_layers, n_heads, d_model, attn_only: false, ...training },
    label: "toys on plain inference",
  };
} // biome-ignore format: one line

/** A fine-tuning, by the first training's recipe. @param from the checkpoint to begin with; absent only where the plan is checked */
function tuningPlan(params: ToyParams, way: "alone" | "mixed", { seed, from }: { seed: number; from?: string }) {
  const { tuning_steps: steps, plain_share } = params;
  const { task, params: first } = firstPlan(params);
  const training = { steps, warmup: Math.round(steps / 20), points: 11, spacing: "linear" };
  const fragments = way === "alone" ? { fragments: LOGIC } : { fragments: ALL, plain_share };
  return {
    task,
    params: { ...first, ...fragments, ...training, ...(from === undefined ? {} : { from }) },
    label: `toy of seed ${seed} on fragments ${way === "alone" ? "alone" : "and plain inference"}`,
  };
}

/** The trainings of toys, as stages of the experiment. */
export function toyStages(params: ToyParams): ExperimentStage[] {
  return [
    trainingStage(firstPlan(params), params.seeds),
    ...params.seeds.flatMap((seed) =>
      (["alone", "mixed"] as const).map((way) => trainingStage(tuningPlan(params, way, { seed }), [seed])),
    ),
  ];
}

/** Refuses parameters that a training would refuse. @throws HeadscopeError `usage` */
export function checkToys(params: ToyParams, { check }: ExperimentContext): void {
  check(firstPlan(params), params.seeds);
  for (const way of ["alone", "mixed"] as const) check(tuningPlan(params, way, { seed: 0 }), [0]);
}

/** Trains the toys, fine-tunes each in both ways, and judges. */
export async function toyFinding(params: ToyParams, { train }: Pick<ExperimentContext, "train">): Promise<Finding> {
  const seeds: ToySeed[] = [];
  for (const first of await train(firstPlan(params), params.seeds)) {
    const origin = { seed: first.seed, from: lastCheckpoint(first) };
    const tuned = async (plan: TrainingPlan) => accuraciesOf((await train(plan, [first.seed]))[0]!);
    seeds.push({
      plain: accuraciesOf(first),
      alone: await tuned(tuningPlan(params, "alone", origin)),
      mixed: await tuned(tuningPlan(params, "mixed", origin)),
    });
  }
  return { claims: judgeToys(seeds, params.steps), figures: [tuningFigure(seeds), toysFigure(seeds)] };
}

function accuraciesOf({ curves }: TrainedRun): FragmentCurves {
  return Object.fromEntries(ALL.map((name) => [name, curves.get(`${name}.accuracy`)!]));
}

/** Accuracies along both fine-tunings. */
function tuningFigure(seeds: readonly ToySeed[]): LineFigure {
  const { steps } = seeds[0]!.alone[PLAIN.name]!;
  const lines = (way: Way, name: string) => [
    meanLine(`fragments, fine-tuned on ${name}`, seeds.map((seed) => logicCurve(seed[way]))),
    meanLine(`plain inference, fine-tuned on ${name}`, seeds.map((seed) => seed[way][PLAIN.name]!)),
  ];
  return {
    kind: "lines",
    name: "toys-tuning",
    title: "Toys trained on plain inference, fine-tuned on fragments",
    caption: meanCaption(seeds.length),
    x: { title: "step of the fine-tuning", whole: true },
    y: { title: "accuracy", range: [0, 1] },
    lines: [
      ...lines("alone", "fragments alone"),
      ...lines("mixed", "both"),
      levelLine("chance: one of three", steps, 1 / TRUTHS.length),
      levelLine("ceiling", steps, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line

/** Accuracies by fragment behind each training. */
function toysFigure(seeds: readonly ToySeed[]): LineFigure {
  const places = ALL.map((_, i) => i);
  const line = (way: Way, name: string) => ({
    ...meansLine(name, places, ALL.map((fragment) => seeds.map((seed) => last(seed[way][fragment]!)))),
    joined: false,
  });
  return {
    kind: "lines",
    name: "toys",
    title: "Toys by fragment of logic",
    caption: `Means of the seeds' toys, with 95 % intervals over seeds. Fragments: ${ALL.map((name, i) => `${i} ${name}`).join(", ")}.`,
    x: { title: "fragment", whole: true },
    y: { title: "accuracy", range: [0, 1] },
    lines: [
      line("plain", "trained on plain inference"),
      line("alone", "fine-tuned on fragments alone"),
      line("mixed", "fine-tuned on both"),
      levelLine("chance: one of three", places, 1 / TRUTHS.length),
      levelLine("ceiling", places, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line
