import type { ClaimResult, ClaimStatement } from "../base.ts";
import { mean } from "../curves.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";
import { RECURRENCES, type Recurrence } from "./arms.ts";
import type { StateAccuracies } from "./measure.ts";

const JELASSI = "Jelassi et al. 2024, Repeat After Me: Transformers are Better than State Space Models at Copying";
const ARORA = "Arora et al. 2023, Zoology: Measuring and Improving Recall in Efficient Language Models";
const REN = "Ren et al. 2024, Can Mamba Always Enjoy the Free Lunch?";
const CHEN = "Chen et al. 2024, Stuffed Mamba: State Collapse and State Capacity of RNN-Based Long-Context Modeling";

/** Accuracy from which a length is copied. */
const COPIED = 0.9;
/** Least difference of two accuracies that counts. */
const MORE = 0.1;
/** Accuracy on near queries below which nothing can be forgotten: chance is 1 / 32 in the quick preset. */
const RECALLED = 0.3;

/** Claims about one recurrence each. */
const each = (claim: (mixer: Recurrence) => ClaimStatement): ClaimStatement[] => RECURRENCES.map(claim);

/** The claims of state-spaces. */
export const stateClaims: readonly ClaimStatement[] = [
  ...each((mixer) => ({
    id: `copy-${mixer}`,
    statement: `The length that a ${mixer} model copies grows with its state.`,
    source: `${JELASSI}, section 2; ${REN}`,
    check:
      `With the largest state it copies longer strings than with the smallest, ${QUORUM_WORDS}. The length copied is the longest of those of training ` +
      `that were measured up to which the accuracy is at least ${COPIED} at every one. A seed in which the largest state copies none cannot say.`,
  })),
  {
    id: "copy-attention",
    statement: "Attention, whose memory grows with the text, copies all strings of training.",
    source: `${JELASSI}, section 2`,
    check: `Its accuracy is at least ${COPIED} at every length of training that was measured, ${QUORUM_WORDS}.`,
  },
  {
    id: "copy-longer",
    statement: "Attention copies strings longer than those of training better than recurrences do.",
    source: `${JELASSI}, section 3; ${CHEN}`,
    check:
      `On the longer strings its accuracy is at least ${MORE} above that of either recurrence of the largest state, ${QUORUM_WORDS}. ` +
      "A seed in which attention does not copy the longest strings of training cannot say.",
  },
  ...each((mixer) => ({
    id: `recall-${mixer}`,
    statement: `The pairs that a ${mixer} model recalls grow with its state.`,
    source: `${ARORA}, section 4`,
    check: `Its accuracy at the most pairs is with the largest state at least ${MORE} above that with the smallest, ${QUORUM_WORDS}.`,
  })),
  {
    id: "recall-attention",
    statement: "Attention recalls however many pairs there are.",
    source: `${ARORA}, section 4`,
    check: `Its accuracy is at least ${COPIED} at every number of pairs that was measured, ${QUORUM_WORDS}.`,
  },
  ...each((mixer) => ({
    id: `forgetting-${mixer}`,
    statement: `A ${mixer} model of the smallest state forgets: what stands further back is recalled less.`,
    source: `${CHEN}; ${ARORA}`,
    check:
      `At the most pairs its accuracy on the third of the queries that are nearest to their pair is at least ${MORE} above that on the ` +
      `farthest third, ${QUORUM_WORDS}. A seed with less than ${RECALLED} on the nearest cannot say.`,
  })),
];

/** What was measured, seed by seed. */
export interface StateResults {
  readonly attention: readonly StateAccuracies[];
  /** By recurrence, by rising state. */
  readonly recurrent: Readonly<Record<Recurrence, readonly (readonly StateAccuracies[])[]>>;
}

/** The longest of rising lengths up to which all are copied; 0 where the first is not. @param copy accuracies, those beyond training left out */
export function lengthCopied(lengths: readonly number[], copy: readonly number[]): number {
  const first = lengths.findIndex((_, i) => copy[i]! < COPIED);
  return first === 0 ? 0 : lengths.at(first < 0 ? -1 : first - 1)!;
}

/** Decides the claims. @param lengths at which copying was measured, the last one beyond training */
export function judge({ attention, recurrent }: StateResults, lengths: readonly number[]): ClaimResult[] {
  const trained = lengths.slice(0, -1);
  const copied = (seeds: readonly StateAccuracies[]) => seeds.map(({ copy }) => lengthCopied(trained, copy));
  const most = (seeds: readonly StateAccuracies[]) => seeds.map(({ recall }) => recall.at(-1)!);
  const longer = (seeds: readonly StateAccuracies[]) => seeds.map(({ copy }) => copy.at(-1)!);
  const ends = (mixer: Recurrence) => [recurrent[mixer][0]!, recurrent[mixer].at(-1)!] as const;
  const [linear, selective] = RECURRENCES.map((mixer) => longer(ends(mixer)[1])) as [number[], number[]];
  const about = (claim: (mixer: Recurrence) => ClaimResult): ClaimResult[] => RECURRENCES.map(claim);
  return [
    ...about((mixer) => {
      const [small, large] = ends(mixer).map(copied) as [number[], number[]];
      return {
        id: `copy-${mixer}`,
        measured: {
          "length copied, smallest state, mean": mean(small),
          "length copied, largest state, mean": mean(large),
        },
        ...vote(
          large.map((length, s) => (length === 0 ? undefined : length > small[s]!)),
          "the length copied grows",
          "no length is copied",
        ),
      };
    }),
    {
      id: "copy-attention",
      measured: {
        "length copied, mean": mean(copied(attention)),
        "accuracy at the longest of training, mean": mean(attention.map(({ copy }) => copy.at(-2)!)),
      },
      ...vote(
        copied(attention).map((length) => length === trained.at(-1)),
        "every length of training is copied",
        "",
      ),
    },
    {
      id: "copy-longer",
      measured: {
        "accuracy beyond training, attention, mean": mean(longer(attention)),
        "accuracy beyond training, linear-recurrence, mean": mean(linear),
        "accuracy beyond training, selective, mean": mean(selective),
      },
      ...vote(
        attention.map(({ copy }, s) =>
          copy.at(-2)! < COPIED ? undefined : copy.at(-1)! >= Math.max(linear[s]!, selective[s]!) + MORE,
        ),
        "attention copies longer strings better",
        "attention does not copy the strings of training",
      ),
    },
    ...about((mixer) => {
      const [small, large] = ends(mixer).map(most) as [number[], number[]];
      return {
        id: `recall-${mixer}`,
        measured: { "accuracy, smallest state, mean": mean(small), "accuracy, largest state, mean": mean(large) },
        ...vote(
          large.map((accuracy, s) => accuracy >= small[s]! + MORE),
          "more is recalled",
          "",
        ),
      };
    }),
    {
      id: "recall-attention",
      measured: { "accuracy at the most pairs, mean": mean(most(attention)) },
      ...vote(
        attention.map(({ recall }) => Math.min(...recall) >= COPIED),
        "every number of pairs is recalled",
        "",
      ),
    },
    ...about((mixer) => {
      const [small] = ends(mixer);
      return {
        id: `forgetting-${mixer}`,
        measured: {
          "accuracy on near queries, mean": mean(small.map(({ near }) => near)),
          "accuracy on far queries, mean": mean(small.map(({ far }) => far)),
          "attention on near queries, mean": mean(attention.map(({ near }) => near)),
          "attention on far queries, mean": mean(attention.map(({ far }) => far)),
        },
        ...vote(
          small.map(({ near, far }) => (near < RECALLED ? undefined : near >= far + MORE)),
          "what is far is recalled less",
          "little is recalled at all",
        ),
      };
    }),
  ];
}
