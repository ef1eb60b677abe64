import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { type ClaimResult, type ClaimStatement, type Experiment, seedList, type TrainedRun } from "../base.ts";
import { type Curve, finalValue, levelLine, mean, meanCaption, meanLine } from "../curves.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";

const ANAND =
  "Anand et al. 2024, Dual Process Learning: Controlling Use of In-Context vs. In-Weights Strategies with Weight Forgetting";

/** Accuracy on unseen words from which the structural ability is there; guessing gives a half. */
const ABLE = 0.75;
/** Least fall of that accuracy from its peak to the end that counts as going. */
const GONE = 0.1;
/** Accuracy on frequent words in the role that they never had up to which a model goes by its weights there. */
const BY_WEIGHTS = 0.5;

const parameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds, trained together, each with roles of its own"),
  steps: z.int().min(100).default(3000).describe("optimiser steps of every training"),
  forget_every: z.int().min(1).default(100).describe("steps after which the embedding is drawn anew, with forgetting"),
  forget_until: z.int().min(1).default(1500).describe("last step after which it is drawn anew, with temporary forgetting"),
  words: z.int().min(4).default(2000).describe("words of training"),
  unseen: z.int().min(2).default(200).describe("words that training never shows"),
  alpha: z.number().min(0).default(1).describe("exponent of the words' frequencies"),
  ambiguous: z.number().min(0).max(1).default(0.02).describe("share of the words that take either role"),
  n_layers: z.int().min(1).default(2).describe("layers"),
  n_heads: z.int().min(1).default(2).describe("attention heads of a layer"),
  d_model: z.int().min(4).default(32).describe("width of the residual stream"),
  batch: z.int().min(1).default(64).describe("sequences of a step"),
  learning_rate: z.number().positive().default(2e-3).describe("Adam's learning rate"),
  evaluation_rows: z.int().min(64).default(512).describe("sequences of each evaluation"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const claims: readonly ClaimStatement[] = [
  {
    id: "comes-and-goes",
    statement: "Without forgetting, the structural ability on unseen words comes and goes.",
    source: `${ANAND}, structural in-context learning is transient`,
    check:
      `The accuracy on unseen words reaches ${ABLE} (guessing gives 0.5) and ends at least ${GONE} below its peak, ${QUORUM_WORDS}. ` +
      "A seed in which it never comes cannot say.",
  },
  {
    id: "in-weights",
    statement: "Without forgetting, a model goes by its weights on frequent words.",
    source: ANAND,
    check:
      `The accuracy on frequent words in the role that they never had ends at most at ${BY_WEIGHTS}, where their accuracy in their ` +
      `own is above 0.9, ${QUORUM_WORDS}.`,
  },
  {
    id: "active-forgetting",
    statement: "Active forgetting keeps the structural ability.",
    source: `${ANAND}, active forgetting`,
    check:
      `With the embedding drawn anew all along, the accuracy on unseen words ends at least at ${ABLE}, and at least ${GONE} above the ` +
      `same seed's without forgetting, ${QUORUM_WORDS}.`,
  },
  {
    id: "no-weights",
    statement: "With active forgetting a model goes by the structure on frequent words too.",
    source: `${ANAND}, active forgetting`,
    check: `The accuracy on frequent words in the role that they never had ends above ${BY_WEIGHTS} and above the same seed's without forgetting, ${QUORUM_WORDS}.`,
  },
  {
    id: "temporary-forgetting",
    statement: "Temporary forgetting keeps both: the structure for unseen words, the weights for frequent ones.",
    source: `${ANAND}, temporary forgetting`,
    check:
      `The accuracy on unseen words ends at least at ${ABLE}, and that on frequent words in the role that they never had at most at ` +
      `${BY_WEIGHTS}, ${QUORUM_WORDS}.`,
  },
]; // biome-ignore format: sentences

/** The trainings that are compared. */
const WAYS = ["without forgetting", "active forgetting", "temporary forgetting"] as const;
type Way = (typeof WAYS)[number];

/** Accuracies of one seed over training, by split of the task. */
export type SplitCurves = Readonly<Record<"head" | "tail" | "unseen" | "switched" | "tail-switched", Curve>>;

const SPLITS = {
  head: "frequent words",
  tail: "rare words",
  unseen: "unseen words",
  switched: "frequent words, roles switched",
  "tail-switched": "rare words, roles switched",
} as const satisfies Record<keyof SplitCurves, string>;

/** Decides the claims. @param seeds by way of training, one each, in one order */
export function judge(seeds: Readonly<Record<Way, readonly SplitCurves[]>>): ClaimResult[] {
  const [plain, active, temporary] = WAYS.map((way) => seeds[way]) as [SplitCurves[], SplitCurves[], SplitCurves[]];
  const final = (all: readonly SplitCurves[], split: keyof SplitCurves) => all.map((each) => finalValue(each[split]));
  const [unseen, switched] = [final(plain, "unseen"), final(plain, "switched")];
  const peaks = plain.map((each) => Math.max(...each.unseen.values));
  const ends = (all: readonly SplitCurves[]) => ({
    "final accuracy on unseen words, mean": mean(final(all, "unseen")),
    "final accuracy on frequent words with switched roles, mean": mean(final(all, "switched")),
  });
  return [
    {
      id: "comes-and-goes",
      measured: { "peak on unseen words, mean": mean(peaks), "final accuracy on unseen words, mean": mean(unseen) },
      ...vote(
        peaks.map((peak, s) => (peak < ABLE ? undefined : unseen[s]! <= peak - GONE)),
        "the ability comes and goes",
        "the structural ability never comes",
      ),
    },
    {
      id: "in-weights",
      measured: { ...ends(plain), "final accuracy on frequent words, mean": mean(final(plain, "head")) },
      ...vote(
        final(plain, "head").map((head, s) => head > 0.9 && switched[s]! <= BY_WEIGHTS),
        "the model goes by its weights",
        "",
      ),
    },
    {
      id: "active-forgetting",
      measured: { ...ends(active), "without forgetting, on unseen words, mean": mean(unseen) },
      ...vote(
        final(active, "unseen").map((value, s) => value >= ABLE && value >= unseen[s]! + GONE),
        "the ability is kept",
        "",
      ),
    },
    {
      id: "no-weights",
      measured: { ...ends(active), "without forgetting, with switched roles, mean": mean(switched) },
      ...vote(
        final(active, "switched").map((value, s) => value > BY_WEIGHTS && value > switched[s]!),
        "the model goes by the structure",
        "",
      ),
    },
    {
      id: "temporary-forgetting",
      measured: ends(temporary),
      ...vote(
        final(temporary, "unseen").map((value, s) => value >= ABLE && final(temporary, "switched")[s]! <= BY_WEIGHTS),
        "both are kept",
        "",
      ),
    },
  ];
}

function planOf(params: Params, way: Way) {
  const { seeds: _, forget_every, forget_until, ...shared } = params;
  const forgetting = {
    "without forgetting": {},
    "active forgetting": { reset_every: forget_every },
    "temporary forgetting": { reset_every: forget_every, reset_until: forget_until },
  }[way];
  // Measured just before resets: behind one every model is at a loss for as long as it takes to learn its words again.
  const points = Math.max(2, Math.floor(params.steps / forget_every) + 1);
  const training = { points, spacing: "linear", checkpoints: 2, extra_checkpoints: 0 };
  return {
    task: "word-roles",
    params: { ...shared, attn_only: false, ...training, ...forgetting },
    label: way,
  };
}

const curvesOf = ({ curves }: TrainedRun): SplitCurves =>
  Object.fromEntries(Object.keys(SPLITS).map((split) => [split, curves.get(`${split}.accuracy`)!])) as never;

/** Accuracies over one way of training, between guessing and the structure's. */
function wayFigure(way: Way, seeds: readonly SplitCurves[], marks: LineFigure["marks"]): LineFigure {
  const { steps } = seeds[0]!.head;
  const level = (name: string, value: number) => levelLine(name, steps, value);
  return {
    kind: "lines",
    name: way.replace(" ", "-"),
    title: `Accuracies ${way === "without forgetting" ? way : `with ${way}`}`,
    caption: `Measured just before resets. ${meanCaption(seeds.length)} With switched roles 1 is by the structure, 0 by the weights.`,
    x: { title: "training step" },
    y: { title: "accuracy", range: [0, 1] },
    lines: [
      ...Object.entries(SPLITS).map(([split, name]) =>
        meanLine(name, seeds.map((seed) => seed[split as keyof SplitCurves])),
      ),
      level("guessing", 0.5),
      level("the structure of the phrase (ceiling)", 1),
    ],
    ...(marks ? { marks } : {}),
  };
} // biome-ignore format: a line of the figure a line

/** Structural in-context learning of words' roles, and what forgetting does to it. */
export const dualProcess: Experiment<typeof parameters> = {
  name: "dual-process",
  title: "Dual process learning: forgetting decides between structure and weights",
  description:
    "Transformers tell whether a word is a noun or an adjective, which the form of its phrase says for any word and memory for words that " +
    "training shows. Trained plainly, with the embedding drawn anew every so many steps (active forgetting), and with that for a while only " +
    "(temporary forgetting), they are asked for frequent, rare and unseen words, and for words in the role that they never had.",
  source: ANAND,
  trials:
    "Trials of two seeds in six settings came before the preset; the thresholds were written with their results " +
    "known, before the preset was run. No setting was found in which the ability comes and goes, so that the preset " +
    "was expected not to decide that claim.",
  parameters,
  presets: {
    quick: {},
    full: {
      ...{ steps: 30_000, forget_every: 500, forget_until: 15_000, words: 10_000, unseen: 1000, ambiguous: 0.1 },
      ...{ n_layers: 4, n_heads: 4, d_model: 64, batch: 128, learning_rate: 1e-3, evaluation_rows: 1024 },
    },
  },
  claims,
  stages: (params) => WAYS.map((way) => trainingStage(planOf(params, way), params.seeds)),
  async run(params, { check, train }) {
    for (const way of WAYS) check(planOf(params, way), params.seeds);
    const curves = {} as Record<Way, SplitCurves[]>;
    for (const way of WAYS) curves[way] = (await train(planOf(params, way), params.seeds)).map(curvesOf);
    const end = { x: params.forget_until, label: "the last reset" };
    return {
      claims: judge(curves),
      figures: WAYS.map((way) => wayFigure(way, curves[way], way === "temporary forgetting" ? [end] : undefined)),
    };
  },
};
