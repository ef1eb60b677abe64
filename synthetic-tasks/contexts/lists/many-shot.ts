import { z } from "zod";
import { draw } from "../../pairs/base.ts";
import { type ContextCase, contextTask, needlesIn, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { ANIMALS, CITIES, FRUITS, THINGS } from "../vocabulary.ts";

/** Classes of words: what an example is about decides its label. */
const CLASSES = [ANIMALS, FRUITS, CITIES, THINGS];

/** Labels that say nothing of their class: a case gives each class another. */
const LABELS = ["alpha", "beta", "gamma", "delta", "omega", "sigma"] as const;

const parameters = z.object({
  questions: questionsParameter(8),
  labels: z.int().min(2).max(CLASSES.length).default(4).describe("classes, each with its label"),
  seen: z
    .boolean()
    .default(true)
    .describe("ask about words that stand in examples; otherwise about others of their class"),
});

/** Classification by many labelled examples. */
export const manyShot = contextTask({
  name: "many-shot",
  title: "Many-shot classification",
  description:
    "Labelled examples fill the context: the class of the word in a line (animal, plant, city or thing) decides the label, and what a label " +
    "means is drawn for each case, so that only the examples tell it. Questions are about words of the examples or others. Chance is one in the " +
    "number of labels.",
  source: "Agarwal et al. 2024, Many-Shot In-Context Learning; Li et al. 2024, SCBench (many-shot)",
  parameters,
  scoring: "answers",
  answerTokens: () => 4,
  draw(room, { questions, labels, seen }) {
    const { random } = room;
    const names = draw(random, LABELS, labels);
    const classes = draw(random, CLASSES, labels).map((words) => draw(random, words, words.length));
    const asked = Array.from({ length: questions }, (_, q) => {
      const label = random.integer(0, labels);
      return { label, word: classes[label]![q]! };
    });
    const shown = classes.map((words) => words.slice(seen ? 0 : questions));
    const lines: { label: number; text: string }[] = [];
    const line = (place: number) => {
      // Of every block each label has one example, in random order.
      while (lines.length <= place)
        for (const label of random.permutation(labels)) {
          const words = shown[label]!;
          const word = words[random.integer(0, words.length)]!;
          lines.push({ label, text: `Input: ${word}\nLabel: ${names[label]}` });
        }
      return lines[place]!;
    };
    const build = (examples: number): ContextCase => {
      const part = Array.from({ length: examples }, (_, place) => line(place));
      const context = ["Learn the labels from the examples.", ...part.map(({ text }) => text)].join("\n\n");
      return {
        context,
        questions: asked.map(({ label, word }) => ({
          question: `What is the label of ${word}?`,
          lead: `Input: ${word}\nLabel:`,
          answers: [names[label]!],
          needles: needlesIn(context, [
            ...new Set(part.filter((each) => each.label === label).map(({ text }) => text)),
          ]),
          chance: 1 / labels,
        })),
      };
    };
    return largest("many-shot", room, build, { least: labels });
  },
});
