import type { Random } from "../../../backend/common/random.ts";
import { FILLER } from "../../../backend/common/texts/haystack.ts";
import { type ContextCase, type ContextQuestion, needlesIn } from "../base.ts";

/** A needle as it is put into a haystack: a sentence, and the share of the haystack before it. */
export interface PlacedNeedle {
  readonly text: string;
  /** 0 to 1; several of one share keep their order. */
  readonly share: number;
}

/** A question before it is known where its needles come to lie. */
export interface HaystackQuestion extends Omit<ContextQuestion, "needles"> {
  /** Sentences of the haystack that it is about. */
  readonly needles: readonly string[];
}

/** Parts of a haystack case. */
export interface Haystack {
  /** First line of the context, such as what to look out for. */
  readonly opening: string;
  readonly needles: readonly PlacedNeedle[];
  readonly questions: readonly HaystackQuestion[];
}

/**
 * Sentences without end: the whole list in one order, then in another.
 * @param sentences default the plain ones
 */
export function endless(random: Random, sentences: readonly string[] = FILLER): (place: number) => string {
  const drawn: string[] = [];
  return (place) => {
    while (drawn.length <= place) drawn.push(...random.permutation(sentences.length).map((i) => sentences[i]!));
    return drawn[place]!;
  };
}

/** A haystack of so many sentences with its needles between them. @param sentence of a place, from 0 */
export function haystackCase(haystack: Haystack, sentence: (place: number) => string, sentences: number): ContextCase {
  const { opening, needles, questions } = haystack;
  const cuts = needles.map(({ share }) => Math.min(sentences, Math.floor(share * (sentences + 1))));
  const body = Array.from({ length: sentences + 1 }, (_, place) => [
    ...needles.filter((_, n) => cuts[n] === place).map(({ text }) => text),
    ...(place < sentences ? [sentence(place)] : []),
  ]).flat();
  const context = [opening, body.join(" ")].filter((part) => part !== "").join("\n\n");
  return {
    context,
    questions: questions.map((question) => ({ ...question, needles: needlesIn(context, question.needles) })),
  };
}
