import { z } from "zod";
import { draw } from "../../pairs/base.ts";
import { amongChance, contextTask, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { ANIMALS, FRUITS, THINGS } from "../vocabulary.ts";
import { endless, haystackCase } from "./haystack.ts";
import { numbers } from "./magic-numbers.ts";

/** Names of variables: words, so that a model can tell them apart by a token or two. */
const VARIABLES = [...ANIMALS, ...FRUITS, ...THINGS];
const MOST = { questions: 6, hops: 8 };

const parameters = z.object({
  questions: questionsParameter(MOST.questions),
  hops: z.int().min(0).max(MOST.hops).default(2).describe("assignments of a chain that copy the variable before"),
});

/** Chains of variables with one value each. */
export const variableTracking = contextTask({
  name: "variable-tracking",
  title: "Variable tracking",
  description:
    "A chain of assignments, '4821 -> lemon.' (the variable lemon gets the value) and 'lemon -> tiger.' (tiger gets lemon's),, stands in this order scattered over a text. A question asks for " +
    "all variables that have the value; the chains of the other questions are distractors. The score is the share that is named.",
  source: "Hsieh et al. 2024, RULER (variable tracking)",
  parameters,
  scoring: "answers",
  answerTokens: ({ hops }) => 6 * (hops + 1) + 6,
  draw(room, { questions, hops }) {
    const { random } = room;
    const names = draw(random, VARIABLES, questions * (hops + 1));
    const values = numbers(random, questions);
    const chains = values.map((value, q) => {
      const own = names.slice(q * (hops + 1), (q + 1) * (hops + 1));
      const shares = own.map(() => random.uniform()).sort((a, b) => a - b);
      const needles = own.map((name, hop) => ({
        text: `${hop === 0 ? value : own[hop - 1]} -> ${name}.`,
        share: shares[hop]!,
      }));
      return { value, own, needles };
    });
    const haystack = {
      opening:
        "In the following text numbers are stored in variables, and variables are copied to others, such as 7 -> apple. apple -> pear.",
      needles: chains.flatMap(({ needles }) => needles),
      questions: chains.map(({ value, own, needles }) => ({
        question: `In which variables is ${value} in the end?`,
        lead: `${value} ->`,
        answers: own,
        needles: needles.map(({ text }) => text),
        chance: amongChance(own.length, names.length, VARIABLES.length),
      })),
    };
    const sentence = endless(random);
    return largest("variable-tracking", room, (sentences) => haystackCase(haystack, sentence, sentences));
  },
});
