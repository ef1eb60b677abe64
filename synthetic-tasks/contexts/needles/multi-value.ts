import { z } from "zod";
import { draw, fill } from "../../pairs/base.ts";
import { amongChance, contextTask, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { ANIMALS, CITIES, FRUITS, NAMES, THINGS } from "../vocabulary.ts";
import { endless, haystackCase } from "./haystack.ts";

/** Kinds of keys: {name} did something to each of the values. */
const KINDS: readonly { readonly fact: string; readonly question: string; readonly values: readonly string[] }[] = [
  { fact: "{name} visited the city of", question: "Which cities did {name} visit?", values: CITIES },
  { fact: "{name} planted a", question: "What did {name} plant?", values: FRUITS },
  { fact: "{name} took a photo of a", question: "Which animals did {name} take a photo of?", values: ANIMALS },
  { fact: "{name} repaired a", question: "What did {name} repair?", values: THINGS },
];
const MOST = Math.min(...KINDS.map(({ values }) => values.length));

const parameters = z.object({
  questions: questionsParameter(KINDS.length),
  values: z.int().min(1).max(MOST).default(2).describe("needles of each key, each with another value"),
});

/** All values of one key. */
export const multiValue = contextTask({
  name: "multi-value",
  title: "All values of one key",
  description:
    "Sentences such as 'Anna visited the city of Paris.' stand at random places of a text, several with the same beginning. A question asks " +
    "for all their values; each further question is about sentences of another kind. The score is the share that is named.",
  source: "Hsieh et al. 2024, RULER (multi-values NIAH)",
  parameters,
  scoring: "answers",
  answerTokens: ({ values }) => 6 + 6 * values,
  draw(room, { questions, values: count }) {
    const { random } = room;
    const names = draw(random, NAMES, questions);
    const keys = draw(random, KINDS, questions).map(({ fact, question, values }, q) => {
      const lead = fill(fact, { name: names[q]! });
      const answers = draw(random, values, count);
      const texts = answers.map((answer) => `${lead} ${answer}.`);
      const chance = amongChance(count, count, values.length);
      return { question: fill(question, { name: names[q]! }), lead, answers, needles: texts, chance };
    });
    const haystack = {
      opening: "Read the following text carefully.",
      needles: keys.flatMap(({ needles }) => needles.map((text) => ({ text, share: random.uniform() }))),
      questions: keys,
    };
    const sentence = endless(random);
    return largest("multi-value", room, (sentences) => haystackCase(haystack, sentence, sentences));
  },
});
