import { z } from "zod";
import { draw } from "../../pairs/base.ts";
import { amongChance, contextTask, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { ANIMALS, CITIES, FRUITS, NAMES, THINGS } from "../vocabulary.ts";
import { endless, haystackCase } from "./haystack.ts";

/** Kinds of keys: what {name} did, to a thing of which kind, with its plural. */
const KINDS = [
  { did: "visited", noun: ["city", "cities"], values: CITIES },
  { did: "likes", noun: ["fruit", "fruits"], values: FRUITS },
  { did: "has seen", noun: ["animal", "animals"], values: ANIMALS },
  { did: "has painted", noun: ["object", "objects"], values: THINGS },
] as const;
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
    const keys = draw(random, KINDS, questions).map(({ did, noun: [one, many], values }, q) => {
      const name = names[q]!;
      const answers = draw(random, values, count);
      const texts = answers.map((answer) => `${name} ${did} the ${one} ${answer}.`);
      return {
        question: `Name the ${count} ${many} that ${name} ${did}, each in a sentence of its own.`,
        lead: `${name} ${did} the ${one}`,
        answers,
        needles: texts,
        chance: amongChance(count, count, values.length),
      };
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
