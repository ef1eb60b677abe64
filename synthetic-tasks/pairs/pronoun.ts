import { z } from "zod";
import { chosen, fill, MEN, one, pairTask, templateParameter, WOMEN } from "./base.ts";

const TEMPLATES = [
  "So {name} is a really great friend, isn't",
  "{name} is such a good cook, isn't",
  "So {name} can play the piano well, can't",
  "{name} went home early because",
  "The teacher asked {name} a question, and",
] as const;

const parameters = z.object({ template: templateParameter(TEMPLATES.length) });

/** The pronoun that a name calls for. */
export const pronoun = pairTask({
  name: "pronoun",
  title: "Gendered pronoun",
  description:
    "'So Mary is a really great friend, isn't' calls for she rather than he. In the corrupt prompt stands a name of the other " +
    "gender; half of the clean prompts are about a woman.",
  source: "Mathwin et al. 2023, Identifying a Preliminary Circuit for Predicting Gendered Pronouns in GPT-2 Small",
  parameters,
  kinds({ template }, vocabulary) {
    const sides = [
      { names: vocabulary.single(WOMEN, "women's names"), word: "she" },
      { names: vocabulary.single(MEN, "men's names"), word: "he" },
    ] as const;
    return chosen(TEMPLATES, template).flatMap(([number, text]) =>
      [0, 1].map((side) => ({
        name: `${sides[side]!.word}, template ${number}`,
        draw(random) {
          const [right, other] = [sides[side]!, sides[1 - side]!];
          const prompt = ({ names }: { names: readonly string[] }): string => fill(text, { name: one(random, names) });
          return { clean: prompt(right), corrupt: prompt(other), answer: ` ${right.word}`, wrong: ` ${other.word}` };
        },
      })),
    );
  },
});
