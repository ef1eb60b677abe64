import type { Random } from "../../../backend/common/random.ts";
import { draw } from "../../pairs/base.ts";
import { ANIMALS, CITIES, FRUITS, THINGS } from "../vocabulary.ts";
import { MAGIC, NUMBERS, numbers } from "./magic-numbers.ts";

/** Facts of one kind: of each person or subject one. */
export interface FactKind {
  /** Sentence without its answer; {name} and {subject} stand for whom or what it is about. */
  readonly fact: string;
  readonly question: string;
  /** Question about several at once; {them} stands for these. */
  readonly several: string;
  /** Answers that there could be, in number. */
  readonly possible: number;
  /** All of these, where they are words of a list. */
  readonly words?: readonly string[];
  /** Different answers. */
  answers(random: Random, count: number): string[];
}

const words = (list: readonly string[]): Pick<FactKind, "possible" | "words" | "answers"> => ({
  words: list,
  possible: list.length,
  answers: (random, count) => draw(random, list, count),
});

/** Kinds of facts; none of them can be taken for one of another. */
export const FACTS: readonly FactKind[] = [
  {
    fact: MAGIC("{subject}"),
    question: "What is the magic number of the {subject}?",
    several: "What are the magic numbers of {them}?",
    possible: NUMBERS,
    answers: numbers,
  },
  {
    fact: "The parcel for {name} was sent to",
    question: "To which city was the parcel for {name} sent?",
    several: "To which cities were the parcels for {them} sent?",
    ...words(CITIES),
  },
  {
    fact: "The favourite food of {name} is",
    question: "What is the favourite food of {name}?",
    several: "What are the favourite foods of {them}?",
    ...words(FRUITS),
  },
  {
    fact: "The animal on the flag of the {subject} is the",
    question: "Which animal is on the flag of the {subject}?",
    several: "Which animals are on the flags of {them}?",
    ...words(ANIMALS),
  },
  {
    fact: "The spare key of the {subject} is under the",
    question: "Under which thing is the spare key of the {subject}?",
    several: "Under which things are the spare keys of {them}?",
    ...words(THINGS),
  },
];
