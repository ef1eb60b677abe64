import { z } from "zod";
import type { Random } from "../../../backend/common/random.ts";
import { draw, fill, one } from "../../pairs/base.ts";
import { contextTask, depthParameter, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { ANIMALS, CITIES, FRUITS, NAMES, THINGS } from "../vocabulary.ts";
import { endless, haystackCase } from "./haystack.ts";
import { NUMBERS, numbers, subjects } from "./magic-numbers.ts";

/** Facts of one kind. */
interface Kind {
  /** Sentence without its answer; {name} and {subject} stand for whom or what it is about. */
  readonly fact: string;
  readonly question: string;
  /** Answers that there could be, in number. */
  readonly possible: number;
  answer(random: Random): string;
}

const words = (list: readonly string[]): Pick<Kind, "possible" | "answer"> => ({
  possible: list.length,
  answer: (random) => one(random, list),
});

/** Kinds of needles: a context has one of each at most, so that none can be taken for another. */
const KINDS: readonly Kind[] = [
  {
    fact: "The magic number of the {subject} is",
    question: "What is the magic number of the {subject}?",
    possible: NUMBERS,
    answer: (random) => numbers(random, 1)[0]!,
  },
  {
    fact: "The parcel for {name} was sent to",
    question: "To which city was the parcel for {name} sent?",
    ...words(CITIES),
  },
  { fact: "The favourite food of {name} is", question: "What is the favourite food of {name}?", ...words(FRUITS) },
  {
    fact: "The animal on the flag of the {subject} is the",
    question: "Which animal is on the flag of the {subject}?",
    ...words(ANIMALS),
  },
  {
    fact: "The spare key of the {subject} is under the",
    question: "Under which thing is the spare key of the {subject}?",
    ...words(THINGS),
  },
];

const parameters = z.object({ questions: questionsParameter(KINDS.length), depth: depthParameter });

/** One sentence that matters in a text that doesn't. */
export const needle = contextTask({
  name: "needle",
  title: "A needle in a haystack",
  description:
    "One sentence such as 'The magic number of the blue harbour is 4821.' stands somewhere in a text of other sentences and is asked " +
    "for. Each further question is about a sentence of another kind, so that none is a distractor of another.",
  source: "Kamradt 2023, needle in a haystack; Hsieh et al. 2024, RULER (single NIAH)",
  parameters,
  scoring: "answers",
  answerTokens: () => 12,
  draw(room, { questions, depth }) {
    const { random } = room;
    const [names, places] = [draw(random, NAMES, questions), subjects(random, questions)];
    const facts = draw(random, KINDS, questions).map(({ fact, question, possible, answer: drawn }, q) => {
      const about = { name: names[q]!, subject: places[q]! };
      const [lead, answer] = [fill(fact, about), drawn(random)];
      const text = `${lead} ${answer}.`;
      return {
        needle: { text, share: q === 0 && depth !== undefined ? depth : random.uniform() },
        question: {
          question: fill(question, about),
          lead,
          answers: [answer],
          needles: [text],
          chance: 1 / possible,
        },
      };
    });
    const haystack = {
      opening: "Read the following text carefully.",
      needles: facts.map((each) => each.needle),
      questions: facts.map((each) => each.question),
    };
    const sentence = endless(random);
    return largest("needle", room, (sentences) => haystackCase(haystack, sentence, sentences));
  },
});
