import { z } from "zod";
import { chosen, fill, one, pairTask, templateParameter } from "./base.ts";

const TEMPLATES = [
  "The {subject} near the {other}",
  "I think that the {subject} behind the {other}",
  "Everybody knows that the {subject} next to the {other}",
  "The {subject} that belonged to the {other}",
] as const;

/** Singular and plural. */
const SUBJECTS: readonly (readonly [string, string])[] = [
  ["key", "keys"], ["book", "books"], ["car", "cars"], ["tree", "trees"], ["house", "houses"], ["picture", "pictures"],
  ["box", "boxes"], ["dog", "dogs"], ["cat", "cats"], ["chair", "chairs"], ["window", "windows"], ["door", "doors"],
  ["letter", "letters"], ["boat", "boats"], ["horse", "horses"], ["road", "roads"],
]; // biome-ignore format: a table
const OTHERS: readonly (readonly [string, string])[] = [
  ["girl", "girls"], ["boy", "boys"], ["teacher", "teachers"], ["doctor", "doctors"], ["king", "kings"], ["student", "students"],
  ["friend", "friends"], ["neighbor", "neighbors"], ["farmer", "farmers"], ["worker", "workers"],
]; // biome-ignore format: a table
const VERBS: readonly (readonly [string, string])[] = [
  ["is", "are"],
  ["was", "were"],
  ["has", "have"],
];

const NUMBERS = ["singular", "plural"] as const;

const parameters = z.object({ template: templateParameter(TEMPLATES.length) });

/** Subject-verb agreement across another noun. */
export const agreement = pairTask({
  name: "agreement",
  title: "Subject-verb agreement",
  description:
    "'The keys near the girl' calls for are rather than is: the verb agrees with the subject, not with the noun beside it, " +
    "which has the subject's number in half of the pairs. In the corrupt prompt the subject has the other number.",
  source:
    "Linzen et al. 2016, Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies; Finlayson et al. 2021, Causal Analysis of Syntactic Agreement Mechanisms",
  parameters,
  kinds({ template }, vocabulary) {
    const both = (list: readonly (readonly [string, string])[], noun: string) => {
      const single = new Set(vocabulary.single(list.flat(), noun));
      return list.filter((forms) => forms.every((form) => single.has(form)));
    };
    const [subjects, others, verbs] = [both(SUBJECTS, "subjects"), both(OTHERS, "nouns"), both(VERBS, "verbs")];
    return chosen(TEMPLATES, template).flatMap(([number, text]) =>
      [0, 1].flatMap((subject) =>
        [0, 1].map((other) => ({
          name: `${NUMBERS[subject]} beside ${NUMBERS[other]}, template ${number}`,
          draw(random) {
            const [noun, beside, verb] = [one(random, subjects), one(random, others), one(random, verbs)];
            const prompt = (form: number): string => fill(text, { subject: noun[form]!, other: beside[other]! });
            return {
              clean: prompt(subject),
              corrupt: prompt(1 - subject),
              answer: ` ${verb[subject]}`,
              wrong: ` ${verb[1 - subject]}`,
            };
          },
        })),
      ),
    );
  },
});
