import { CITIES, NAMES } from "../contexts/vocabulary.ts";
import { DEGREES, FATES, KINDS, type Pairing } from "./fragments.ts";

/** Fills the places before a question that is shorter than the longest. */
const PAD = "·";
/** Words before the hypothesis, and in whose place the answer is predicted. */
const [QUESTION, ANSWER] = ["Question:", "Answer:"] as const;
/** Words and marks that the forms of sentences are made of. */
const FORM = [
  ".", ",", "has", "have", "not", "only", "visited", "and", "if", "then", "Everyone", "No", "one", "Someone", "more", "fewer", "than",
  "two", "three", "six", "cities", "is", "All", "Some", "were",
] as const; // biome-ignore format: a table

/** Every word of questions about fragments; its place is its id. */
export const FRAGMENT_WORDS: readonly string[] = [
  ...new Set([PAD, QUESTION, ANSWER, ...FORM, ...DEGREES, ...[...KINDS.flat(), ...FATES].flatMap((words) => words.split(" ")), ...NAMES, ...CITIES]),
]; // biome-ignore format: a list

/** Words of the longest question, which is one about a condition. */
export const QUESTION_WORDS = 25;

const ids: ReadonlyMap<string, number> = new Map(FRAGMENT_WORDS.map((word, id) => [word, id]));

/** Ids of a question's words, behind as many pads as it lacks [QUESTION_WORDS]. */
export function questionIds([premise, hypothesis]: Pairing): number[] {
  const words = [...wordsOf(premise), QUESTION, ...wordsOf(hypothesis), ANSWER];
  return [...Array<string>(QUESTION_WORDS - words.length).fill(PAD), ...words].map((word) => ids.get(word)!);
}

function wordsOf(text: string): readonly string[] {
  return text.match(/\w+|[.,]/g)!;
}

/** The premise and the hypothesis that ids stand for. */
export function pairingOf(question: Iterable<number>): Pairing {
  const words = Array.from(question, (id) => FRAGMENT_WORDS[id]!).filter((word) => word !== PAD);
  const text = (some: readonly string[]) => some.join(" ").replace(/ (?=[.,])/g, "");
  const middle = words.indexOf(QUESTION);
  return [text(words.slice(0, middle)), text(words.slice(middle + 1, -1))];
}
