import type { Random } from "../../backend/common/random.ts";
import { COLOURS, PLACES } from "../../backend/common/texts/haystack.ts";
import type { PlacedNeedle } from "./haystack.ts";

/** Most subjects of one context. */
export const MOST_SUBJECTS = COLOURS.length * PLACES.length;

const [LOWEST, BEYOND] = [1000, 10_000];

/** Numbers that a magic number can be: those of four digits. */
export const NUMBERS = BEYOND - LOWEST;

/** Instruction before the text. */
export const OPENING = "Some magic numbers are hidden in the following text. Remember them.";

/** A sentence that gives a subject a number. */
export interface MagicNumber {
  /** Such as "blue harbour". */
  readonly subject: string;
  readonly value: string;
  readonly needle: PlacedNeedle;
}

/** Different subjects, such as "blue harbour". */
export function subjects(random: Random, count: number): string[] {
  return random
    .permutation(MOST_SUBJECTS)
    .slice(0, count)
    .map((i) => `${COLOURS[i % COLOURS.length]} ${PLACES[Math.floor(i / COLOURS.length)]}`);
}

/** Different numbers of four digits. */
export function numbers(random: Random, count: number): string[] {
  const drawn = new Set<string>();
  while (drawn.size < count) drawn.add(String(random.integer(LOWEST, BEYOND)));
  return [...drawn];
}

/** Sentences that give subjects a number each, at random places. @param owners subjects; one that occurs several times has several numbers */
export function magicNumbers(random: Random, owners: readonly string[]): MagicNumber[] {
  const values = numbers(random, owners.length);
  return owners.map((subject, i) => {
    const value = values[i]!;
    const text = `The magic number of the ${subject} is ${value}.`;
    return { subject, value, needle: { text, share: random.uniform() } };
  });
}
