import type { Random } from "../../../backend/common/random.ts";
import { COLOURS, PLACES } from "../../../backend/common/texts/haystack.ts";
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

/** Different subjects, such as "blue harbour"; of every ten no two share a word, as long as there are places left. */
export function subjects(random: Random, count: number): string[] {
  const [colours, places] = [random.permutation(COLOURS.length), random.permutation(PLACES.length)];
  return Array.from({ length: count }, (_, i) => {
    const [turn, place] = [Math.floor(i / places.length), i % places.length];
    return `${COLOURS[colours[(place + turn) % colours.length]!]} ${PLACES[places[place]!]}`;
  });
}

/** Different numbers of four digits. */
export function numbers(random: Random, count: number): string[] {
  const drawn = new Set<string>();
  while (drawn.size < count) drawn.add(String(random.integer(LOWEST, BEYOND)));
  return [...drawn];
}

/** Sentences that give each owner a number, at random places; an owner that occurs several times has several numbers. */
export function magicNumbers(random: Random, owners: readonly string[], wording = MAGIC): MagicNumber[] {
  const values = numbers(random, owners.length);
  return owners.map((subject, i) => {
    const value = values[i]!;
    return { subject, value, needle: { text: `${wording(subject)} ${value}.`, share: random.uniform() } };
  });
}

/** Beginning of a needle, and of the answer to its question. */
export const MAGIC = (subject: string): string => `The magic number of the ${subject} is`;
