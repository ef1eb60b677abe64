import { z } from "zod";
import { draw, fill } from "../../pairs/base.ts";
import { amongChance, contextTask, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { NAMES } from "../vocabulary.ts";
import { FACTS } from "./facts.ts";
import { endless, haystackCase } from "./haystack.ts";
import { subjects } from "./magic-numbers.ts";

const parameters = z.object({
  questions: questionsParameter(FACTS.length),
  queries: z.int().min(1).max(6).default(2).describe("needles that a question asks for at once"),
});

/** A list as English writes it: "a, b and c". */
function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** Several needles at once. */
export const multiQuery = contextTask({
  name: "multi-query",
  title: "Several needles at once",
  description:
    "Sentences such as 'The favourite food of Anna is mango.' stand at random places of a text, and a question asks for several of one " +
    "kind at once; each further question is about sentences of another kind. The score is the share that is named.",
  source: "Hsieh et al. 2024, RULER (multi-queries NIAH)",
  parameters,
  scoring: "answers",
  answerTokens: ({ queries }) => 20 * queries,
  draw(room, { questions, queries }) {
    const { random } = room;
    const names = draw(random, NAMES, questions * queries);
    const places = subjects(random, questions * queries);
    const asked = draw(random, FACTS, questions).map(({ fact, several, possible, answers: drawn }, q) => {
      const answers = drawn(random, queries);
      const own = answers.map((_, i) => ({ name: names[q * queries + i]!, subject: places[q * queries + i]! }));
      const leads = own.map((about) => fill(fact, about));
      const them = listed(own.map(({ name, subject }) => (fact.includes("{name}") ? name : `the ${subject}`)));
      return {
        question: `${fill(several, { them })} Answer with a sentence for each of them.`,
        lead: leads[0]!,
        answers,
        needles: leads.map((lead, i) => `${lead} ${answers[i]}.`),
        chance: amongChance(queries, queries, possible),
      };
    });
    const haystack = {
      opening: "Read the following text carefully.",
      needles: asked.flatMap(({ needles }) => needles.map((text) => ({ text, share: random.uniform() }))),
      questions: asked,
    };
    const sentence = endless(random);
    return largest("multi-query", room, (sentences) => haystackCase(haystack, sentence, sentences));
  },
});
