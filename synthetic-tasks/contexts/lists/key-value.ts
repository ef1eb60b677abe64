import { z } from "zod";
import { draw } from "../../pairs/base.ts";
import { amongChance, contextTask, needlesIn, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { LIST_WORDS } from "./word-lists.ts";

const [LOWEST, BEYOND] = [1000, 10_000];
/** Keys of one word: it and a number of two digits. */
const TENS = 90;

const parameters = z.object({ questions: questionsParameter(16) });

/** A value by its key among many. */
export const keyValue = contextTask({
  name: "key-value",
  title: "Keys and values",
  description:
    'Lines such as \'"lemon-27": "4821",\' fill the context; a question asks for the value of one key. Keys are a word and two digits, so that ' +
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
      Array.from({ length: LIST_WORDS.length * TENS }, (_, i) => i),
      LIST_WORDS.length * TENS,
    );
    const key = (line: number): string =>
      `${LIST_WORDS[order[line]! % LIST_WORDS.length]!.toLowerCase()}-${10 + Math.floor(order[line]! / LIST_WORDS.length)}`;
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
            answers: [value(line)],
            needles: needlesIn(context, [texts[line]!]),
            chance: amongChance(1, lines, BEYOND - LOWEST),
          })),
        };
      },
      { least: questions, most: LIST_WORDS.length * TENS },
    );
  },
});
