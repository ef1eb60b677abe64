import { z } from "zod";
import { draw, fill, pairTask } from "./base.ts";

const TEMPLATE = `def {f}(self, {a}, {b}, {c}, {d}):
    """{u} {v} {w}

    :param {a}: {p} {q}
    :param {b}: {r} {s}
    :param`;

const NAMES = [
  "load", "size", "file", "last", "name", "first", "key", "value", "text", "line", "path", "user", "data", "index", "start", "end",
  "color", "width", "height", "time", "count", "group", "level", "source", "target", "limit", "option", "order", "state", "title",
]; // biome-ignore format: a table
const WORDS = [
  "oil", "piece", "column", "crime", "dark", "unit", "river", "green", "house", "water", "small", "music", "paper", "glass",
  "mountain", "winter", "bread", "street", "stone", "silver", "garden", "north", "market", "summer",
]; // biome-ignore format: a table

/** Docstring: the next argument of a function. */
export const docstring = pairTask({
  name: "docstring",
  title: "Docstring",
  description:
    "A function and the beginning of its docstring, which lists its arguments in order: the third is called for. In the " +
    "corrupt prompt the third and the fourth argument of the function have changed places.",
  source: "Heimersheim and Janiak 2023, A circuit for Python docstrings in a 4-layer attention-only transformer",
  parameters: z.object({}),
  kinds(_, vocabulary) {
    const names = vocabulary.single(NAMES, "argument names", 8);
    const words = vocabulary.single(WORDS, "words", 8);
    return [
      {
        name: "third argument",
        draw(random) {
          const [f, a, b, third, fourth] = draw(random, names, 5) as [string, string, string, string, string];
          const [u, v, w, p, q, r, s] = draw(random, words, 7) as [
            string,
            string,
            string,
            string,
            string,
            string,
            string,
          ];
          const prompt = (c: string, d: string): string => fill(TEMPLATE, { f, a, b, c, d, u, v, w, p, q, r, s });
          return {
            clean: prompt(third, fourth),
            corrupt: prompt(fourth, third),
            answer: ` ${third}`,
            wrong: ` ${fourth}`,
          };
        },
      },
    ];
  },
});
