import { z } from "zod";
import { contextTask, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { BALLOTS, ballotsCase, drawBallots, MOST_WORDS } from "./ballots.ts";

const parameters = z.object({
  questions: questionsParameter(BALLOTS),
  common: z.int().min(1).max(8).default(1).describe("words of a question that occur often, and are asked for"),
  others: z
    .int()
    .min(1)
    .max(MOST_WORDS - 8)
    .default(6)
    .describe("words of a question that occur seldom"),
  times: z.int().min(2).max(100).default(6).describe("occurrences of a common word for each of another"),
});

/** Words that occur more often than all others. */
export const commonWords = contextTask({
  name: "common-words",
  title: "Common words",
  description:
    "Sentences such as 'Anna travelled to Paris.' fill the context in random order, and some words of each kind occur several times as often " +
    "as all others of it. A question asks for them, each further one about another kind. The score is the share that is named, and chance is " +
    "that of a word of the kind.",
  source: "Hsieh et al. 2024, RULER (common words extraction), in sentences",
  parameters,
  scoring: "answers",
  answerTokens: ({ common }) => 6 + 6 * common,
  draw(room, { questions, common, others, times }) {
    const weights = [...Array<number>(common).fill(times), ...Array<number>(others).fill(1)];
    const ballots = drawBallots(room.random, questions, { weights, asked: common });
    return largest("common-words", room, (sentences) => ballotsCase(ballots, sentences), {
      least: common * times + others,
    });
  },
});
