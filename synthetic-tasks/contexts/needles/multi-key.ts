import { z } from "zod";
import { impossible } from "../../base.ts";
import { amongChance, contextTask, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { endless, haystackCase } from "./haystack.ts";
import { MAGIC, MOST_SUBJECTS, magicNumbers, NUMBERS, OPENING, subjects } from "./magic-numbers.ts";

const parameters = z.object({
  questions: questionsParameter(MOST_SUBJECTS),
  keys: z.int().min(1).max(MOST_SUBJECTS).default(6).describe("needles of the same form, each about something else"),
});

/** One of many needles of the same form. */
export const multiKey = contextTask({
  name: "multi-key",
  title: "One of many needles",
  description:
    "Sentences such as 'The magic number of the blue harbour is 4821.' stand at random places of a text; each question asks for the " +
    "number of one of them, so that the others are distractors. Chance is one in the number of needles.",
  source: "Hsieh et al. 2024, RULER (multi-keys NIAH)",
  parameters,
  scoring: "answers",
  answerTokens: () => 12,
  check({ questions, keys }) {
    if (questions > keys)
      throw impossible(
        "multi-key",
        ["questions", "keys"],
        `${questions} questions about ${keys} keys`,
        "ask about each key once at most",
      );
  },
  draw(room, { questions, keys }) {
    const { random } = room;
    const drawn = magicNumbers(random, subjects(random, keys));
    const haystack = {
      opening: OPENING,
      needles: drawn.map(({ needle }) => needle),
      questions: drawn.slice(0, questions).map(({ subject, value, needle }) => ({
        question: `What is the magic number of the ${subject}?`,
        lead: MAGIC(subject),
        answers: [value],
        needles: [needle.text],
        chance: amongChance(1, keys, NUMBERS),
      })),
    };
    const sentence = endless(random);
    return largest("multi-key", room, (sentences) => haystackCase(haystack, sentence, sentences));
  },
});
