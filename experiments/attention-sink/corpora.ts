import { Random } from "../../backend/common/random.ts";
import { meanEntropy } from "../../synthetic-tasks/bigrams/chain.ts";
import { chainOf, zipfBigram } from "../../synthetic-tasks/bigrams/zipf-bigram.ts";
import { characterText, leastTextLoss } from "../../synthetic-tasks/characters/character-text.ts";
import { ALPHABET } from "../../synthetic-tasks/characters/sentences.ts";
import type { TrainedRun } from "../base.ts";
import { mean } from "../curves.ts";

/** Languages that sinks are grown on. */
export const CORPUS_NAMES = ["bigrams", "characters"] as const;
/** One of `CORPUS_NAMES`. */
export type CorpusName = (typeof CORPUS_NAMES)[number];

/** Stream of a seed from which the sequences of the characters' least loss are drawn: no batch of a training comes from it. */
const LEAST_STREAM = 0xe1000000;
/** Sequences of each seed by which it is measured. */
const LEAST_ROWS = 2048;

/** Sizes that decide a language. */
interface CorpusSizes {
  readonly context: number;
  readonly vocabulary: number;
  readonly triggers: number;
  readonly contrast: number;
}

/** A language with the task that has it. */
interface Corpus {
  readonly task: string;
  /** The task's parameters, beside its context and marker. */
  params(sizes: CorpusSizes): Readonly<Record<string, number>>;
  /** Tokens that there are beside the fixed one: those of uniform guessing. */
  symbols(sizes: CorpusSizes): number;
  /** The least loss of runs without a fixed token, in nats a token, mean over them. */
  leastLoss(runs: readonly Pick<TrainedRun, "taskParams" | "seed">[], sizes: CorpusSizes): number;
  /** Says in a caption from what the least loss is known. */
  readonly least: string;
}

/** The languages by name. */
export const CORPORA: Readonly<Record<CorpusName, Corpus>> = {
  bigrams: {
    task: zipfBigram.name,
    params: ({ vocabulary, triggers, contrast }) => ({ vocabulary, triggers, contrast }),
    symbols: ({ vocabulary }) => vocabulary - 1,
    leastLoss: (runs, { context }) =>
      meanEntropy(
        runs.map(({ taskParams, seed }) => chainOf(taskParams, seed)),
        context,
      ),
    least: "The least loss is exact: the entropy of the chains.",
  },
  characters: {
    task: characterText.name,
    params: () => ({}),
    symbols: () => ALPHABET.length,
    leastLoss: (runs) =>
      mean(
        runs.map(({ taskParams, seed }) =>
          leastTextLoss(taskParams, seed, { random: new Random(seed, LEAST_STREAM), rows: LEAST_ROWS }),
        ),
      ),
    least: `The least loss is that of the exact posterior on ${LEAST_ROWS.toLocaleString("en")} new sequences of each seed.`,
  },
};
