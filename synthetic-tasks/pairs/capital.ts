import { z } from "zod";
import { chosen, draw, fill, pairTask, templateParameter } from "./base.ts";

const TEMPLATES = [
  "The capital of {country} is the city of",
  "The capital city of {country} is called",
  "She lives in the capital of {country}, the city of",
] as const;

/** Countries and their capitals. */
const CAPITALS: readonly (readonly [string, string])[] = [
  ["France", "Paris"], ["Italy", "Rome"], ["Germany", "Berlin"], ["Spain", "Madrid"], ["England", "London"], ["Russia", "Moscow"],
  ["Japan", "Tokyo"], ["China", "Beijing"], ["Egypt", "Cairo"], ["Austria", "Vienna"], ["Greece", "Athens"], ["Ireland", "Dublin"],
  ["Poland", "Warsaw"], ["Portugal", "Lisbon"], ["Sweden", "Stockholm"], ["Norway", "Oslo"], ["Denmark", "Copenhagen"],
  ["Cuba", "Havana"], ["Iran", "Tehran"], ["Iraq", "Baghdad"], ["Canada", "Ottawa"], ["Peru", "Lima"], ["Chile", "Santiago"],
  ["Hungary", "Budapest"], ["Syria", "Damascus"], ["Lebanon", "Beirut"], ["Scotland", "Edinburgh"], ["Thailand", "Bangkok"],
  ["Finland", "Helsinki"], ["Kenya", "Nairobi"],
]; // biome-ignore format: a table

const parameters = z.object({ template: templateParameter(TEMPLATES.length) });

/** Country and capital: a fact that the model has in its weights. */
export const capital = pairTask({
  name: "capital",
  title: "Country and capital",
  description:
    "'The capital of France is the city of' calls for Paris. In the corrupt prompt stands another country, whose capital is the " +
    "wrong answer.",
  source:
    "Meng et al. 2022, Locating and Editing Factual Associations in GPT; Hernandez et al. 2024, Linearity of Relation Decoding",
  parameters,
  kinds({ template }, vocabulary) {
    const single = new Set(vocabulary.single(CAPITALS.flat(), "countries and capitals", 8));
    const known = CAPITALS.filter((names) => names.every((name) => single.has(name)));
    return chosen(TEMPLATES, template).map(([number, text]) => ({
      name: `template ${number}`,
      draw(random) {
        const [[country, city], [other, elsewhere]] = draw(random, known, 2) as [
          readonly [string, string],
          readonly [string, string],
        ];
        return {
          clean: fill(text, { country }),
          corrupt: fill(text, { country: other }),
          answer: ` ${city}`,
          wrong: ` ${elsewhere}`,
        };
      },
    }));
  },
});
