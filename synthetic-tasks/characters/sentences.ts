import type { Random } from "../../backend/common/random.ts";
import { COLOURS, FILLER, PLACES } from "../../backend/common/texts/haystack.ts";
import { FACTS } from "../contexts/needles/facts.ts";
import { PASSAGE } from "../contexts/texts/repeated-text.ts";
import { ANIMALS, CITIES, FRUITS, NAMES, THINGS } from "../contexts/vocabulary.ts";
import { draw } from "../pairs/base.ts";
import { DEEDS } from "../reasoning/stories.ts";

/** Characters that texts are made of. */
export const ALPHABET = "abcdefghijklmnopqrstuvwxyz .,";

/** Words by the name under which they stand in a form. */
const WORDS: Readonly<Record<string, readonly string[]>> = {
  animal: ANIMALS,
  city: CITIES,
  colour: COLOURS,
  deed: DEEDS.map(([past]) => past),
  fruit: FRUITS,
  name: NAMES,
  place: PLACES,
  plain: FILLER,
  thing: THINGS,
};

/** Forms of sentences with words that are drawn: of passages, of stories, and of facts. */
const FORMS: readonly string[] = [
  PASSAGE,
  "{name} {deed} the {thing}.",
  ...FACTS.flatMap(({ fact, words }) => {
    const kind = Object.entries(WORDS).find(([, list]) => list === words);
    return kind === undefined ? [] : [`${fact.replace("{subject}", "{colour} {place}")} {${kind[0]}}.`];
  }),
];

/** A form of sentences, its words listed: a sentence has one of each part's, all equally often. */
export interface SentenceForm {
  /** Share of the sentences. */
  readonly share: number;
  /** Texts in lower case [part][alternative]. */
  readonly parts: readonly (readonly string[])[];
}

/**
 * The forms of a run's sentences, each with the space behind it. No two draws of parts give the same sentence.
 * @param plain share of sentences that are whole ones out of a list @param words of each kind, drawn anew for every run
 */
export function sentenceForms({ plain, words }: { plain: number; words: number }, random: Random): SentenceForm[] {
  const lists = Object.fromEntries(Object.entries(WORDS).map(([kind, list]) => [kind, draw(random, list, words)]));
  const parts = (form: string): string[][] =>
    `${form} `
      .split(/\{(\w+)\}/)
      .map((text, i) => (i % 2 === 0 ? [text] : lists[text]!))
      .filter(([first]) => first !== "")
      .map((part) => part.map((text) => text.toLowerCase()));
  return [
    { share: plain, parts: parts("{plain}") },
    ...FORMS.map((form) => ({ share: (1 - plain) / FORMS.length, parts: parts(form) })),
  ].filter(({ share }) => share > 0);
}
