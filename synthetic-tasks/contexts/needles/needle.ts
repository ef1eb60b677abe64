import { z } from "zod";
import { draw, fill } from "../../pairs/base.ts";
import { contextTask, depthParameter, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { NAMES } from "../vocabulary.ts";
import { FACTS } from "./facts.ts";
import { endless, haystackCase } from "./haystack.ts";
import { subjects } from "./magic-numbers.ts";

const parameters = z.object({ questions: questionsParameter(FACTS.length), depth: depthParameter });

/** One sentence that matters in a text that doesn't. */
export const needle = contextTask({
  name: "needle",
  title: "A needle in a haystack",
  description:
    "One sentence such as 'The magic number of the blue harbour is 4821.' stands somewhere in a text of other sentences and is asked " +
    "for. Each further question is about a sentence of another kind, so that none is a distractor of another.",
  source: "Kamradt 2023, needle in a haystack; Hsieh et al. 2024, RULER (single NIAH)",
  parameters,
  scoring: "answers",
  answerTokens: () => 12,
  draw(room, { questions, depth }) {
    const { random } = room;
    const [names, places] = [draw(random, NAMES, questions), subjects(random, questions)];
    const facts = draw(random, FACTS, questions).map(({ fact, question, possible, answers }, q) => {
      const about = { name: names[q]!, subject: places[q]! };
      const [lead, answer] = [fill(fact, about), answers(random, 1)[0]!];
      const text = `${lead} ${answer}.`;
      return {
        needle: { text, share: q === 0 && depth !== undefined ? depth : random.uniform() },
        question: {
          question: fill(question, about),
          lead,
          answers: [answer],
          needles: [text],
          chance: 1 / possible,
        },
      };
    });
    const haystack = {
      opening: "Read the following text carefully.",
      needles: facts.map((each) => each.needle),
      questions: facts.map((each) => each.question),
    };
    const sentence = endless(random);
    return largest("needle", room, (sentences) => haystackCase(haystack, sentence, sentences));
  },
});
