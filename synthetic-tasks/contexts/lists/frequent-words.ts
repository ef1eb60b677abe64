import { z } from "zod";
import { contextTask, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { apportioned, drawLists, listsCase } from "./word-lists.ts";

const parameters = z.object({
  questions: questionsParameter(4),
  words: z.int().min(4).max(20).default(12).describe("different words of a list"),
  alpha: z.number().min(0.5).max(4).default(2).describe("the k-th word occurs in proportion to k to the power -alpha"),
});

/** Words asked for, as in RULER. */
const ASKED = 3;

/** The most frequent words of lists whose words fall off as in a text. */
export const frequentWords = contextTask({
  name: "frequent-words",
  title: "Frequent words",
  description:
    "Lists of words in random order, each with its owner; the k-th word of a list occurs in proportion to k^-alpha (a zeta distribution). A " +
    "question asks for the three most frequent words of an owner. The score is the share that is named, and chance is that of a word of the list.",
  source: "Hsieh et al. 2024, RULER (frequent words extraction)",
  parameters,
  scoring: "answers",
  answerTokens: () => 16,
  draw(room, { questions, words: distinct, alpha }) {
    const { random } = room;
    const weights = Array.from({ length: distinct }, (_, k) => (k + 1) ** -alpha);
    const lists = {
      ...drawLists(random, questions, distinct),
      counts: (length: number) => apportioned(weights, length),
      asked: ASKED,
    };
    const seed = random.uint32();
    return largest("frequent-words", room, (words) => listsCase(lists, seed, leastLength(weights) + words));
  },
});

/** Words of the shortest list whose third word occurs more often than its fourth, as in every longer one. */
function leastLength(weights: readonly number[]): number {
  const sum = weights.reduce((a, b) => a + b, 0);
  const gap = (weights[ASKED - 1]! - weights[ASKED]!) / sum;
  return Math.ceil(2 / gap);
}
