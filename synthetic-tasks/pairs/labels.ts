import { z } from "zod";
import { draw, one, pairTask } from "./base.ts";

/** Things of two kinds. */
const KINDS: readonly (readonly [readonly string[], readonly string[]])[] = [
  [
    ["dog", "cat", "horse", "lion", "mouse", "wolf", "tiger", "sheep", "goat", "bear"],
    ["apple", "bread", "cheese", "rice", "soup", "cake", "lemon", "butter", "honey", "pizza"],
  ],
  [
    ["red", "blue", "green", "yellow", "black", "white", "brown", "pink", "purple", "gray"],
    ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"],
  ],
  [
    ["doctor", "teacher", "farmer", "lawyer", "nurse", "pilot", "painter", "writer", "judge", "soldier"],
    ["table", "chair", "lamp", "sofa", "bed", "shelf", "desk", "mirror", "carpet", "clock"],
  ],
];

const LABELS = ["foo", "bar", "alpha", "beta", "left", "right", "up", "down", "yes", "no"];

const parameters = z.object({
  examples: z
    .int()
    .min(2)
    .max(20)
    .default(8)
    .describe("examples in front of the question, half of each kind; an even number"),
});

/** In-context labels: a label without a meaning of its own. */
export const labels = pairTask({
  name: "labels",
  title: "In-context labels",
  description:
    "Examples such as 'dog: foo' and 'apple: bar', then a new thing: its kind's label is called for, which nothing but the " +
    "examples says. In the corrupt prompt all examples have the other label. The last example has the answer's label in half " +
    "of the pairs.",
  source:
    "Wei et al. 2023, Larger language models do in-context learning differently (semantically unrelated labels); Wang et al. 2023, Label Words are Anchors",
  parameters,
  kinds({ examples }, vocabulary) {
    const half = Math.floor(examples / 2);
    const words = vocabulary.single(LABELS, "labels");
    return [0, 1].flatMap((asked) =>
      [true, false].map((same) => ({
        name: `${asked === 0 ? "first" : "second"} kind, ${same ? "like" : "unlike"} the last example`,
        draw(random) {
          const things = one(random, KINDS);
          const [own, other] = draw(random, words, 2) as [string, string];
          const chosen = [0, 1].map((kind) => draw(random, things[kind]!, half + 1));
          const shown = [0, 1].flatMap((kind) => chosen[kind]!.slice(1).map((thing) => ({ thing, kind })));
          const lastKind = same ? asked : 1 - asked;
          const order = draw(random, shown, shown.length);
          const last = order.findIndex(({ kind }) => kind === lastKind);
          const lines = [...order.slice(0, last), ...order.slice(last + 1), order[last]!];
          const prompt = (right: string, wrong: string): string =>
            lines.map(({ thing, kind }) => `${thing}: ${kind === asked ? right : wrong}\n`).join("") +
            `${chosen[asked]![0]}:`;
          return { clean: prompt(own, other), corrupt: prompt(other, own), answer: ` ${own}`, wrong: ` ${other}` };
        },
      })),
    );
  },
});
