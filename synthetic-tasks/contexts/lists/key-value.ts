import { z } from "zod";
import { draw } from "../../pairs/base.ts";
import { amongChance, contextTask, needlesIn, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { ANIMALS, CITIES, FRUITS, THINGS } from "../vocabulary.ts";

const [LOWEST, BEYOND] = [1000, 10_000];
const WORDS = [...ANIMALS, ...FRUITS, ...CITIES, ...THINGS].map((word) => word.toLowerCase());
/** Keys of two different words. */
const KEYS = WORDS.length * (WORDS.length - 1);

const parameters = z.object({ questions: questionsParameter(16) });

/** A value by its key among many. */
export const keyValue = contextTask({
  name: "key-value",
  title: "Keys and values",
  description:
    'Lines such as \'"lemon tiger": "4821",\' fill the context; a question asks for the value of one key. Keys are two words, so that ' +
    "many share a part. Chance is one in the number of lines.",
  source: "Liu et al. 2023, Lost in the Middle (key-value retrieval); Li et al. 2024, SCBench (string retrieval)",
  parameters,
  scoring: "answers",
  answerTokens: () => 10,
  draw(room, { questions }) {
    const { random } = room;
    const shares = Array.from({ length: questions }, () => random.uniform());
    const order = draw(
      random,
      Array.from({ length: KEYS }, (_, i) => i),
      KEYS,
    );
    const key = (line: number): string => {
      const [first, second] = [order[line]! % WORDS.length, Math.floor(order[line]! / WORDS.length)];
      return `${WORDS[first]} ${WORDS[second + (second >= first ? 1 : 0)]}`;
    };
    const values: string[] = [];
    const used = new Set<string>();
    const value = (line: number): string => {
      while (values.length <= line) {
        const drawn = String(random.integer(LOWEST, BEYOND));
        if (!used.has(drawn)) values.push(drawn);
        used.add(drawn);
      }
      return values[line]!;
    };
    return largest(
      "key-value",
      room,
      (lines) => {
        const texts = Array.from({ length: lines }, (_, line) => `"${key(line)}": "${value(line)}",`);
        const context = ["The following lines are keys and their values.", ...texts].join("\n");
        const free = Array.from({ length: lines }, (_, line) => line);
        const asked = shares.map((share) => free.splice(Math.floor(share * free.length), 1)[0]!);
        return {
          context,
          questions: asked.map((line) => ({
            question: `What is the value of the key "${key(line)}"?`,
            lead: `"${key(line)}": "`,
            joint: "",
            answers: [value(line)],
            needles: needlesIn(context, [texts[line]!]),
            chance: amongChance(1, lines, BEYOND - LOWEST),
          })),
        };
      },
      { least: questions, most: KEYS },
    );
  },
});
