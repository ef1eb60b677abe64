import { z } from "zod";
import { COLOURS } from "../../../backend/common/texts/haystack.ts";
import { draw } from "../../pairs/base.ts";
import { amongChance, contextTask, depthParameter, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { haystackCase } from "./haystack.ts";

const [LOWEST, BEYOND] = [10_000, 100_000];

/** The text around the key, over and over. */
const NOISE = [
  "The grass is green.",
  "The sky is blue.",
  "The sun is yellow.",
  "Here we go.",
  "There and back again.",
] as const;

const parameters = z.object({ questions: questionsParameter(COLOURS.length), depth: depthParameter });

/** A key in a text that repeats itself. */
export const passkey = contextTask({
  name: "passkey",
  title: "Pass key in noise",
  description:
    "A pass key of five digits stands twice in a row in a text that says the same five sentences over and over. Each further question is " +
    "about the key of another door.",
  source: "Mohtashami and Jaggi 2023, Landmark Attention (pass key retrieval)",
  parameters,
  scoring: "answers",
  answerTokens: () => 12,
  draw(room, { questions, depth }) {
    const { random } = room;
    const keys = new Set<string>();
    while (keys.size < questions) keys.add(String(random.integer(LOWEST, BEYOND)));
    const doors = draw(random, COLOURS, questions);
    const facts = [...keys].map((key, q) => {
      const about = `pass key of the ${doors[q]} door`;
      const text = `The ${about} is ${key}. Remember it. ${key} is the ${about}.`;
      return {
        needle: { text, share: q === 0 && depth !== undefined ? depth : random.uniform() },
        question: {
          question: `What is the ${about}?`,
          lead: `The ${about} is`,
          answers: [key],
          needles: [text],
          chance: amongChance(1, questions, BEYOND - LOWEST),
        },
      };
    });
    const haystack = {
      opening: "There is important information hidden in a lot of irrelevant text. Find it and remember it.",
      needles: facts.map((fact) => fact.needle),
      questions: facts.map((fact) => fact.question),
    };
    const noise = (place: number): string => NOISE[place % NOISE.length]!;
    return largest("passkey", room, (sentences) => haystackCase(haystack, noise, sentences));
  },
});
