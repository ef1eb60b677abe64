import { z } from "zod";
import { amongChance, contextTask, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { endless, haystackCase } from "./haystack.ts";
import { magicNumbers, NUMBERS, OPENING, subjects } from "./magic-numbers.ts";

const parameters = z.object({
  questions: questionsParameter(6),
  values: z.int().min(1).max(8).default(2).describe("needles of each key, each with another value"),
});

const VALUE = (subject: string): string => `One magic number of the ${subject} is`;

/** All values of one key. */
export const multiValue = contextTask({
  name: "multi-value",
  title: "All values of one key",
  description:
    "Each key has several sentences, such as 'One magic number of the blue harbour is 4821.', at random places of a text. A question " +
    "asks for all numbers of a key; the keys of the other questions are distractors. The score is the share that is named.",
  source: "Hsieh et al. 2024, RULER (multi-values NIAH)",
  parameters,
  scoring: "answers",
  answerTokens: ({ values }) => 8 + 8 * values,
  draw(room, { questions, values }) {
    const { random } = room;
    const keys = subjects(random, questions);
    const drawn = magicNumbers(
      random,
      keys.flatMap((key) => Array<string>(values).fill(key)),
      VALUE,
    );
    const haystack = {
      opening: OPENING,
      needles: drawn.map(({ needle }) => needle),
      questions: keys.map((key) => {
        const own = drawn.filter(({ subject }) => subject === key);
        return {
          question: `What are the ${values === 1 ? "" : `${values} `}magic numbers of the ${key}?`,
          lead: `The magic numbers of the ${key} are`,
          answers: own.map(({ value }) => value),
          needles: own.map(({ needle }) => needle.text),
          chance: amongChance(values, questions * values, NUMBERS),
        };
      }),
    };
    const sentence = endless(random);
    return largest("multi-value", room, (sentences) => haystackCase(haystack, sentence, sentences));
  },
});
