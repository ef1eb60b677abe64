import { z } from "zod";
import { chosen, draw, fill, pairTask, templateParameter } from "./base.ts";

const TEMPLATES = [
  "The {o0} is {c0}. The {o1} is {c1}. The {o2} is {c2}. What color is the {asked}? The {asked} is",
  "His {o0} is {c0}, his {o1} is {c1} and his {o2} is {c2}. The color of his {asked} is",
  "Question: On the table there is a {c0} {o0}, a {c1} {o1} and a {c2} {o2}. What color is the {asked}?\nAnswer: The {asked} is",
] as const;

const COLOURS = ["red", "blue", "green", "yellow", "black", "white", "brown", "pink", "gray", "purple"];
const OBJECTS = [
  "cup", "book", "pencil", "ball", "plate", "box", "bag", "hat", "lamp", "chair", "bottle", "phone", "ring", "key", "toy", "shirt",
]; // biome-ignore format: a table

const parameters = z.object({ template: templateParameter(TEMPLATES.length) });

/** Colours of objects: which colour stands at the object that is asked for. */
export const colours = pairTask({
  name: "colours",
  title: "Colours of objects",
  description:
    "Three objects with their colours, then one of them: its colour is called for. In the corrupt prompt another of the three " +
    "is asked for, whose colour is the wrong answer. Each object is asked for equally often.",
  source:
    "Merullo et al. 2024, Circuit Component Reuse Across Tasks in Transformer Language Models (coloured objects of BIG-bench)",
  parameters,
  kinds({ template }, vocabulary) {
    const colourWords = vocabulary.single(COLOURS, "colours", 3);
    const objects = vocabulary.single(OBJECTS, "objects", 3);
    return chosen(TEMPLATES, template).flatMap(([number, text]) =>
      [0, 1, 2].flatMap((asked) =>
        [0, 1, 2]
          .filter((other) => other !== asked)
          .map((other) => ({
            name: `object ${asked}, not ${other}, template ${number}`,
            draw(random) {
              const [c, o] = [draw(random, colourWords, 3), draw(random, objects, 3)];
              const things = Object.fromEntries(
                [0, 1, 2].flatMap((i) => [
                  [`c${i}`, c[i]!],
                  [`o${i}`, o[i]!],
                ]),
              );
              const prompt = (i: number): string => fill(text, { ...things, asked: o[i]! });
              return { clean: prompt(asked), corrupt: prompt(other), answer: ` ${c[asked]}`, wrong: ` ${c[other]}` };
            },
          })),
      ),
    );
  },
});
