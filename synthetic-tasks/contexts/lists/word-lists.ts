import { Random } from "../../../backend/common/random.ts";
import { draw } from "../../pairs/base.ts";
import { type ContextCase, type ContextQuestion, needlesIn } from "../base.ts";
import { ANIMALS, CITIES, FRUITS, NAMES, THINGS } from "../vocabulary.ts";

/** Words that lists are made of. */
export const LIST_WORDS = [...ANIMALS, ...FRUITS, ...CITIES, ...THINGS];

/** Lists of words that have an owner each, of which it is asked what stands there most often. */
export interface WordLists {
  readonly owners: readonly string[];
  /** Words of each list, the most frequent first; no word is in two lists [lists][words]. */
  readonly words: readonly (readonly string[])[];
  /** Occurrences of each word in a list of so many words, falling [words]. */
  counts(words: number): readonly number[];
  /** Words that are asked for: so many from the first. */
  readonly asked: number;
}

/** Owners and words of some lists. @param distinct different words of each */
export function drawLists(random: Random, lists: number, distinct: number): Pick<WordLists, "owners" | "words"> {
  const words = draw(random, LIST_WORDS, lists * distinct);
  return {
    owners: draw(random, NAMES, lists),
    words: Array.from({ length: lists }, (_, list) => words.slice(list * distinct, (list + 1) * distinct)),
  };
}

/**
 * A case in which each list has so many words, in an order that its seed and their number decide.
 * @param seed of the orders
 */
export function listsCase({ owners, words, counts, asked }: WordLists, seed: number, length: number): ContextCase {
  const occurrences = counts(length);
  const lists = words.map((own, list) => {
    const all = own.flatMap((word, w) => Array<string>(occurrences[w]!).fill(word));
    const order = new Random(seed, list).permutation(all.length);
    return `Words of ${owners[list]}: ${order.map((i) => all[i]).join(", ")}.`;
  });
  const context = lists.join("\n\n");
  const questions = owners.map((owner, list): ContextQuestion => {
    const text = lists[list]!;
    return {
      question: `Which ${asked === 1 ? "word occurs" : `${asked} words occur`} most often in the words of ${owner}?`,
      lead: `The most frequent ${asked === 1 ? "word" : "words"} of ${owner}:`,
      answers: words[list]!.slice(0, asked),
      needles: needlesIn(context, [text]),
      chance: asked / words[list]!.length,
    };
  });
  return { context, questions };
}

/**
 * Shares of a list by weights: whole numbers that add up to the length, falling where the weights do.
 * @param weights falling
 */
export function apportioned(weights: readonly number[], length: number): number[] {
  const sum = weights.reduce((a, b) => a + b, 0);
  const counts = weights.map((weight) => Math.floor((length * weight) / sum));
  const left = length - counts.reduce((a, b) => a + b, 0);
  return counts.map((count, i) => count + (i < left ? 1 : 0));
}
