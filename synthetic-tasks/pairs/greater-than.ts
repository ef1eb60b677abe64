import { z } from "zod";
import { chosen, draw, fill, one, pairTask, templateParameter } from "./base.ts";

const TEMPLATES = [
  "The {noun} lasted from the year {century}{start} to the year {century}",
  "The {noun} began in the year {century}{start} and ended in the year {century}",
] as const;

const NOUNS = [
  "war", "siege", "strike", "project", "journey", "campaign", "reign", "conflict", "expedition", "survey", "trial", "work",
]; // biome-ignore format: a table

const parameters = z.object({ template: templateParameter(TEMPLATES.length) });

/** Greater-than: an end that lies behind its beginning. */
export const greaterThan = pairTask({
  name: "greater-than",
  title: "Greater-than",
  description:
    "'The war lasted from the year 1763 to the year 17' calls for a number above 63. The answer lies above the beginning, the " +
    "wrong one below it; in the corrupt prompt the beginning is so early that both lie above. Decades differ, so that it " +
    "works with tokenizers of one digit a token as with those of two: the answers are the first token after the century.",
  source:
    "Hanna et al. 2023, How does GPT-2 compute greater-than? Interpreting mathematical abilities in a pre-trained language model",
  parameters,
  kinds({ template }, vocabulary) {
    const nouns = vocabulary.single(NOUNS, "nouns", 1);
    return chosen(TEMPLATES, template).map(([number, text]) => ({
      name: `template ${number}`,
      draw(random) {
        const noun = one(random, nouns);
        const century = String(random.integer(11, 20));
        const decades = draw(random, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 4).sort((a, b) => a - b);
        const [early, wrong, late, answer] = decades.map((decade) => `${decade}${random.integer(1, 10)}`) as [
          string,
          string,
          string,
          string,
        ];
        const prompt = (start: string): string => fill(text, { noun, century, start });
        return { clean: prompt(late), corrupt: prompt(early), answer, wrong };
      },
    }));
  },
});
