import { z } from "zod";
import { amongChance, contextTask, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { endless, haystackCase } from "./haystack.ts";
import { magicNumbers, NUMBERS, OPENING, subjects } from "./magic-numbers.ts";

const parameters = z.object({
  questions: questionsParameter(6),
  queries: z.int().min(1).max(8).default(2).describe("keys that a question asks for at once"),
});

/** A list as English writes it: "a, b and c". */
function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** The values of several keys at once. */
export const multiQuery = contextTask({
  name: "multi-query",
  title: "Several keys at once",
  description:
    "Sentences such as 'The magic number of the blue harbour is 4821.' stand at random places of a text. A question asks for the " +
    "numbers of several of them at once; those of the other questions are distractors. The score is the share that is named.",
  source: "Hsieh et al. 2024, RULER (multi-queries NIAH)",
  parameters,
  scoring: "answers",
  answerTokens: ({ queries }) => 8 + 20 * queries,
  draw(room, { questions, queries }) {
    const { random } = room;
    const drawn = magicNumbers(random, subjects(random, questions * queries));
    const haystack = {
      opening: OPENING,
      needles: drawn.map(({ needle }) => needle),
      questions: Array.from({ length: questions }, (_, q) => {
        const own = drawn.slice(q * queries, (q + 1) * queries);
        const keys = own.map(({ subject }) => `the ${subject}`);
        return {
          question: `What are the magic numbers of ${listed(keys)}?`,
          lead: `The magic number of ${keys[0]} is`,
          answers: own.map(({ value }) => value),
          needles: own.map(({ needle }) => needle.text),
          chance: amongChance(queries, questions * queries, NUMBERS),
        };
      }),
    };
    const sentence = endless(random);
    return largest("multi-query", room, (sentences) => haystackCase(haystack, sentence, sentences));
  },
});
