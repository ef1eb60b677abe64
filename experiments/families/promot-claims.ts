import type { ClaimResult } from "../base.ts";
import { mean } from "../curves.ts";
import { differenceText, meanText } from "../intervals.ts";
import { vote } from "../verdicts.ts";
import { afterFirst, type Comparison } from "./compare.ts";
import { DISCRETE, FORGOTTEN, RIDGE } from "./fixed-weights.ts";

/** Most of the rise under plain fine-tuning that ProMoT may have. */
export const KEPT = 0.5;
/** Most by which the error on the task of the fine-tuning may be above that of plain fine-tuning, over the mean of y². */
export const AS_GOOD = 0.05;

/** The ways in which a model is tuned; `prompt` is the first stage of `promot`. */
export type TuningArm = "plain" | "prompt" | "promot" | "random" | "joint";

/** A model on prompts of fixed and of fresh weights. */
interface KindFits {
  readonly fixed: Comparison;
  readonly fresh: Comparison;
}

/** A model with its soft prompt, where it has one, and without. */
export interface ArmFit {
  readonly prompted?: KindFits | undefined;
  readonly bare: KindFits;
}

/** One seed before the fine-tuning and after each way of it. */
export type PromotSeed = { readonly before: ArmFit } & { readonly [A in TuningArm]: ArmFit };

const error = ({ model }: Comparison): number => afterFirst(model);

/** Rise of the error on fresh weights, without a prompt. */
const rise = ({ before, ...arms }: PromotSeed, arm: TuningArm): number =>
  error(arms[arm].bare.fresh) - error(before.bare.fresh);

/** Distance from ridge regression as a share of both distances on fresh weights: 0 is ridge regression, 1 dMMSE. */
function specialisation({ bare }: ArmFit): number {
  const [ridge, discrete] = [RIDGE, DISCRETE].map((name) => afterFirst(bare.fresh.distances[name]!)) as [
    number,
    number,
  ];
  return ridge / (ridge + discrete);
}

/** Decides the claims. @param seeds one each */
export function judge(seeds: readonly PromotSeed[]): ClaimResult[] {
  const all = (of: (seed: PromotSeed) => number) => mean(seeds.map(of));
  const ifForgotten = (holds: (seed: PromotSeed) => boolean) =>
    seeds.map((seed) => (rise(seed, "plain") >= FORGOTTEN ? holds(seed) : undefined));
  const rises = (arm: TuningArm) => differenceText(seeds.map((seed) => rise(seed, arm)));
  const kept = "plain fine-tuning loses nothing";
  const gap = ({ plain, promot }: PromotSeed) => error(promot.prompted!.fixed) - error(plain.bare.fixed);
  return [
    {
      id: "specialises",
      measured: {
        "error on fresh weights before": meanText(seeds.map(({ before }) => error(before.bare.fresh))),
        "after plain fine-tuning": meanText(seeds.map(({ plain }) => error(plain.bare.fresh))),
        "error of ridge regression there, mean": all(({ before }) => afterFirst(before.bare.fresh.errors[RIDGE]!)),
        "specialisation before (0 ridge regression, 1 dMMSE), mean": all(({ before }) => specialisation(before)),
        "specialisation after, mean": all(({ plain }) => specialisation(plain)),
      },
      ...vote(
        seeds.map(
          (seed) => rise(seed, "plain") >= FORGOTTEN && specialisation(seed.plain) > specialisation(seed.before),
        ),
        "the error rises and answers move to the fixed weights",
        "",
      ),
    },
    {
      id: "keeps",
      measured: {
        "rise of the error on fresh weights, plain": rises("plain"),
        "ProMoT, prompt taken off": rises("promot"),
        "share of the plain rise, by seed": seeds
          .map((seed) => (rise(seed, "promot") / rise(seed, "plain")).toFixed(2))
          .join(", "),
        "specialisation after ProMoT, mean": all(({ promot }) => specialisation(promot)),
      },
      ...vote(
        ifForgotten((seed) => rise(seed, "promot") <= KEPT * rise(seed, "plain")),
        `the rise is at most ${KEPT} of the plain one`,
        kept,
      ),
    },
    {
      id: "learns",
      measured: {
        "error on fixed weights before, mean": all(({ before }) => error(before.bare.fixed)),
        "plain fine-tuning, mean": all(({ plain }) => error(plain.bare.fixed)),
        "prompt alone, mean": all(({ prompt }) => error(prompt.prompted!.fixed)),
        "ProMoT with its prompt, mean": all(({ promot }) => error(promot.prompted!.fixed)),
        "ProMoT less plain": differenceText(seeds.map(gap)),
        "error of dMMSE there, mean": all(({ before }) => afterFirst(before.bare.fixed.errors[DISCRETE]!)),
      },
      ...vote(
        seeds.map((seed) => gap(seed) <= AS_GOOD),
        `the error is at most ${AS_GOOD} above that of plain fine-tuning`,
        "",
      ),
    },
    {
      id: "prompt-first",
      measured: {
        "rise of the error on fresh weights, ProMoT": rises("promot"),
        "under random vectors": rises("random"),
        "prompt and weights together": rises("joint"),
      },
      ...vote(
        ifForgotten((seed) => rise(seed, "random") > rise(seed, "promot")),
        "the rise is larger under random vectors",
        kept,
      ),
    },
  ];
}
