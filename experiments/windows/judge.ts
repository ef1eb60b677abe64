import { z } from "zod";
import type { ClaimResult, ClaimStatement } from "../base.ts";
import { mean } from "../curves.ts";
import { QUORUM_WORDS, type Vote, vote } from "../verdicts.ts";

const CAMPBELL = "Campbell et al. 2023, Can Transformers Learn Sequential Function Classes In Context?";

/** Shares of random labels at which errors are measured. */
export const SHARES = [0, 0.25, 0.5, 0.75, 1] as const;
const [QUARTER, HALF, ALL] = [SHARES.indexOf(0.25), SHARES.indexOf(0.5), SHARES.indexOf(1)];

/** Part of the way from answering 0 to the best prediction that counts as learning. */
const LEARNED = 0.75;
/** The same where labels are random. */
const KEPT = 0.5;
/** Least difference of two errors, over the variance of y, that counts. */
const LESS = 0.1;

const END = "Errors are squared, over the variance of y, of the last quarter of a sequence.";

export const sequentialClaims: readonly ClaimStatement[] = [
  {
    id: "learns",
    statement: "Transformers learn functions of a window of inputs in context.",
    source: CAMPBELL,
    check: `${END} From answering 0 to Bayes' prediction the model comes at least ${LEARNED} of the way, ${QUORUM_WORDS}.`,
  },
  {
    id: "sequence",
    statement: "They use the order of the inputs: what one input alone tells is not enough for their predictions.",
    source: CAMPBELL,
    check: `${END} The model's is at least ${LESS} below that of the best linear prediction from x alone, ${QUORUM_WORDS}.`,
  },
  {
    id: "deteriorates",
    statement: "The more labels of the context are random, the worse they predict.",
    source: `${CAMPBELL}, random labels`,
    check: `${END} Trained on true labels, the model's rises from each share of random labels (${SHARES.join(", ")}) to the next, ${QUORUM_WORDS}.`,
  },
  {
    id: "keeps-some",
    statement: "With half of the labels random they still learn something from the context.",
    source: `${CAMPBELL}, random labels`,
    check: `${END} Trained on true labels, the model's with half of the labels random is at least ${LESS} below that of answering 0, ${QUORUM_WORDS}.`,
  },
  {
    id: "robust",
    statement: "They lose less than the share of random labels would say.",
    source: `${CAMPBELL}, random labels`,
    check:
      `${END} Trained on true labels, the model's rises with a quarter of the labels random by at most a quarter of what it rises by where all ` +
      `are, ${QUORUM_WORDS}. A seed in which that is less than ${LESS} cannot say.`,
  },
  {
    id: "learns-from-random",
    statement: "Trained with random labels among the true ones, they learn the functions all the same.",
    source: `${CAMPBELL}, random labels`,
    check:
      `${END} With half of the labels random the model trained so comes at least ${KEPT} of the way from answering 0 to the best linear prediction ` +
      `that knows the share, ${QUORUM_WORDS}.`,
  },
]; // biome-ignore format: sentences

const errors = z.array(z.number());
export const windowFitValues = z.object({
  /** Squared error over the variance of y, by share of random labels, then by pairs seen. */
  model: z.array(errors),
  /** The best linear prediction that knows the share. */
  best: z.array(errors),
  /** The best linear prediction from x alone, on true labels. */
  alone: errors,
});
/** One model beside the predictors. */
export type WindowFit = z.output<typeof windowFitValues>;

/** A seed trained on true labels, and trained with random ones. */
export interface SequentialSeed {
  readonly clean: WindowFit;
  readonly noisy: WindowFit;
}

/** Mean of the last quarter of errors by pairs seen. */
export function endOf(values: readonly number[]): number {
  return mean(values.slice(-Math.ceil(values.length / 4)));
}

/** Part of the way from answering 0, whose error is 1, to the best prediction. */
const way = ({ model, best }: WindowFit, share: number): number =>
  (1 - endOf(model[share]!)) / (1 - endOf(best[share]!));

/** Decides the claims. @param seeds one each */
export function judge(seeds: readonly SequentialSeed[]): ClaimResult[] {
  const all = (of: (seed: SequentialSeed) => number) => mean(seeds.map(of));
  const share = (s: number) => (seed: SequentialSeed) => endOf(seed.clean.model[s]!);
  const rise = (seed: SequentialSeed, s: number) => share(s)(seed) - share(0)(seed);
  const claim = (id: string, measured: ClaimResult["measured"], holds: (seed: SequentialSeed) => Vote, what: string) => ({
    id,
    measured,
    ...vote(seeds.map(holds), what, "random labels cost nothing"),
  });
  const byShare = Object.fromEntries(SHARES.map((value, s) => [`error, share ${value}, mean`, all(share(s))]));
  const errorsOf = (s: number, of: "clean" | "noisy") => ({
    "error, mean": all((seed) => endOf(seed[of].model[s]!)),
    "error of the best linear prediction, mean": all((seed) => endOf(seed[of].best[s]!)),
    "part of the way, by seed": seeds.map((seed) => way(seed[of], s).toFixed(2)).join(", "),
  });
  return [
    claim("learns", errorsOf(0, "clean"), ({ clean }) => way(clean, 0) >= LEARNED, "the functions are learned"),
    claim(
      "sequence",
      { "error, mean": all(share(0)), "error from x alone, mean": all(({ clean }) => endOf(clean.alone)) },
      (seed) => share(0)(seed) <= endOf(seed.clean.alone) - LESS,
      "earlier inputs are used",
    ),
    claim(
      "deteriorates",
      byShare,
      (seed) => SHARES.every((_, s) => s === 0 || share(s)(seed) > share(s - 1)(seed)),
      "the error rises with every share",
    ),
    claim("keeps-some", errorsOf(HALF, "clean"), (seed) => share(HALF)(seed) <= 1 - LESS, "half of the labels are enough for something"),
    claim(
      "robust",
      { ...byShare, "part of the rise at a quarter, by seed": seeds.map((seed) => (rise(seed, QUARTER) / rise(seed, ALL)).toFixed(2)).join(", ") },
      (seed) => (rise(seed, ALL) < LESS ? undefined : rise(seed, QUARTER) <= 0.25 * rise(seed, ALL)),
      "a quarter of the labels costs a quarter at most",
    ),
    claim("learns-from-random", errorsOf(HALF, "noisy"), ({ noisy }) => way(noisy, HALF) >= KEPT, "the functions are learned from such labels"),
  ];
} // biome-ignore format: a claim a line
