import { z } from "zod";
import { contextTask, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { BALLOTS, ballotsCase, drawBallots, MOST_WORDS } from "./ballots.ts";

const parameters = z.object({
  questions: questionsParameter(BALLOTS),
  words: z.int().min(5).max(MOST_WORDS).default(8).describe("different words of a question"),
  asked: z
    .int()
    .min(1)
    .max(4)
    .default(1)
    .describe("words that a question asks for, the most frequent ones; RULER's are 3"),
  alpha: z.number().min(0.5).max(4).default(2).describe("the k-th word occurs in proportion to k to the power -alpha"),
});

/** The most frequent of words whose numbers fall off as in a text. */
export const frequentWords = contextTask({
  name: "frequent-words",
  title: "Frequent words",
  description:
    "Sentences such as 'Anna travelled to Paris.' fill the context in random order; the k-th word of each kind occurs in proportion to " +
    "k^-alpha (a zeta distribution). A question asks for the most frequent ones, each further question about another kind. The score is the " +
    "share that is named, and chance is that of a word of the kind.",
  source: "Hsieh et al. 2024, RULER (frequent words extraction), in sentences",
  parameters,
  scoring: "answers",
  answerTokens: ({ asked }) => 6 + 6 * asked,
  draw(room, { questions, words, asked, alpha }) {
    const weights = Array.from({ length: words }, (_, k) => (k + 1) ** -alpha);
    const ballots = drawBallots(room.random, questions, { weights, asked });
    return largest("frequent-words", room, (sentences) => ballotsCase(ballots, sentences), {
      least: leastLength(weights, asked),
    });
  },
});

/** Sentences from which on the last word asked for occurs more often than the one behind it. */
function leastLength(weights: readonly number[], asked: number): number {
  const sum = weights.reduce((a, b) => a + b, 0);
  return Math.ceil(sum / (weights[asked - 1]! - weights[asked]!));
}
