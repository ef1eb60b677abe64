import { z } from "zod";
import { contextTask, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { apportioned, drawLists, listsCase } from "./word-lists.ts";

const parameters = z.object({
  questions: questionsParameter(4),
  common: z.int().min(1).max(8).default(2).describe("words of a list that occur often, and are asked for"),
  others: z.int().min(1).max(12).default(10).describe("words of a list that occur seldom"),
  times: z.int().min(2).max(100).default(8).describe("occurrences of a common word for each of another"),
});

/** Words that occur more often than all others. */
export const commonWords = contextTask({
  name: "common-words",
  title: "Common words",
  description:
    "Lists of words in random order, each with its owner; in each some words occur several times as often as all others. A question asks " +
    "for the common words of an owner. The score is the share that is named, and chance is that of a word of the list.",
  source: "Hsieh et al. 2024, RULER (common words extraction)",
  parameters,
  scoring: "answers",
  answerTokens: ({ common }) => 4 + 4 * common,
  draw(room, { questions, common, others, times }) {
    const { random } = room;
    const weights = [...Array<number>(common).fill(times), ...Array<number>(others).fill(1)];
    const lists = {
      ...drawLists(random, questions, common + others),
      counts: (length: number) => apportioned(weights, length),
      asked: common,
    };
    const seed = random.uint32();
    const least = common * times + others;
    return largest("common-words", room, (words) => listsCase(lists, seed, least + words));
  },
});
