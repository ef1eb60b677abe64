import { Random } from "../../../backend/common/random.ts";
import { draw } from "../../pairs/base.ts";
import { type ContextCase, needlesIn } from "../base.ts";
import { ANIMALS, CITIES, FRUITS, NAMES, THINGS } from "../vocabulary.ts";

/** Things that people do, each with words that say to what. */
const KINDS = [
  { did: "travelled to", question: "Where did people travel to most often?", words: CITIES },
  { did: "ordered a", question: "What did people order most often?", words: FRUITS },
  { did: "dreamed of a", question: "What did people dream of most often?", words: ANIMALS },
  { did: "carried a", question: "What did people carry most often?", words: THINGS },
] as const;

/** Kinds of ballots. */
export const BALLOTS = KINDS.length;

/** Most different words of a ballot. */
export const MOST_WORDS = Math.min(...KINDS.map(({ words }) => words.length));

/** Words that people chose, in sentences such as "Anna travelled to Paris.": each ballot of its own kind. */
export interface Ballots {
  /** Seed of the order of sentences and of who they are about. */
  readonly seed: number;
  /** Numbers of the ballots' kinds. */
  readonly kinds: readonly number[];
  /** Words of each ballot, the most frequent first [ballots][words]. */
  readonly words: readonly (readonly string[])[];
  /** Weights by which words are chosen, falling [words]. */
  readonly weights: readonly number[];
  /** Words that are asked for: so many from the first. */
  readonly asked: number;
}

/** Draws ballots of different kinds. @param count of ballots */
export function drawBallots(
  random: Random,
  count: number,
  { weights, asked }: Pick<Ballots, "weights" | "asked">,
): Ballots {
  const kinds = random.permutation(KINDS.length).slice(0, count);
  const words = kinds.map((kind) => draw(random, KINDS[kind]!.words, weights.length));
  return { seed: random.uint32(), kinds, words, weights, asked };
}

/** A case in which each ballot has so many sentences, those of all in one random order. */
export function ballotsCase({ seed, kinds, words, weights, asked }: Ballots, length: number): ContextCase {
  const random = new Random(seed, length);
  const counts = apportioned(weights, length);
  const ballots = kinds.map((kind, b) =>
    words[b]!.flatMap((word, w) =>
      Array.from({ length: counts[w]! }, () => {
        const name = NAMES[random.integer(0, NAMES.length)]!;
        return { word, text: `${name} ${KINDS[kind]!.did} ${word}.` };
      }),
    ),
  );
  const all = ballots.flat();
  const context = random
    .permutation(all.length)
    .map((i) => all[i]!.text)
    .join(" ");
  const questions = kinds.map((kind, b) => {
    const answers = words[b]!.slice(0, asked);
    const texts = ballots[b]!.filter(({ word }) => answers.includes(word)).map(({ text }) => text);
    return {
      question: `${KINDS[kind]!.question}${asked === 1 ? "" : ` Name the ${asked} most frequent.`}`,
      lead: `Most people ${KINDS[kind]!.did}`,
      answers,
      needles: needlesIn(context, [...new Set(texts)]),
      chance: asked / weights.length,
    };
  });
  return { context, questions };
}

/**
 * Shares of a length by weights: whole numbers that add up to it, falling where the weights do.
 * @param weights falling
 */
export function apportioned(weights: readonly number[], length: number): number[] {
  const sum = weights.reduce((a, b) => a + b, 0);
  const counts = weights.map((weight) => Math.floor((length * weight) / sum));
  const left = length - counts.reduce((a, b) => a + b, 0);
  return counts.map((count, i) => count + (i < left ? 1 : 0));
}
