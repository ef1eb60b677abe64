import type { Model } from "../models/model.ts";
import { Random } from "../runtime/random.ts";

/** A question about one sentence somewhere in a long text. */
export interface NeedleQuestion {
  /** The prompt. */
  readonly ids: number[];
  /** Where the sentence stands: [start, end). */
  readonly span: readonly [number, number];
  /** What is asked, in words. */
  readonly question: string;
  /** What the answer must hold: a text, or ids with spaces between where the model has no tokenizer. */
  readonly expected: string;
}

const NEEDLE = " The secret code of the old cellar is 7482.";
const QUESTION = "What is the secret code of the old cellar?";
const LEAD_IN = "The secret code of the old cellar is";
const EXPECTED = "7482";

const PLACES = [
  "harbour",
  "mill",
  "library",
  "orchard",
  "station",
  "market",
  "lighthouse",
  "bakery",
  "garden",
  "bridge",
];
const PEOPLE = [
  "the baker",
  "a teacher",
  "the old captain",
  "my neighbour",
  "the gardener",
  "a young painter",
  "the clerk",
];
const DEEDS = [
  "walked past",
  "talked about",
  "painted",
  "wrote a letter from",
  "waited near",
  "swept the yard of",
  "drew a map of",
];
const TIMES = [
  "In the morning",
  "After the rain",
  "On Sunday",
  "Late in the evening",
  "In early spring",
  "At noon",
  "Before the snow came",
];

/**
 * Asks for a code in a haystack of generated sentences.
 * @param length tokens of the prompt; the haystack is cut so that it fits exactly
 * @param depth where the sentence stands: 0 at the start of the haystack, 1 at its end
 */
export function needleQuestion(model: Model, length: number, depth = 0.35, seed = 0): NeedleQuestion {
  const random = new Random(seed);
  const { tokenizer } = model;
  if (!tokenizer) return idQuestion(model, length, depth, random);
  const encode = (text: string) => tokenizer.encode(text, { prependBos: false });
  const [before, after] = frame(model);
  const head = encode(before);
  const tail = encode(`\n\n${QUESTION}${after}${LEAD_IN}`);
  const needle = encode(NEEDLE);
  const room = length - head.length - needle.length - tail.length;
  const hay = encode(sentences(room, random)).slice(0, room);
  const cut = Math.round(depth * hay.length);
  const start = head.length + cut;
  return {
    ids: [...head, ...hay.slice(0, cut), ...needle, ...hay.slice(cut), ...tail],
    span: [start, start + needle.length],
    question: QUESTION,
    expected: EXPECTED,
  };
}

/** The model's chat template around a user's message. */
function frame({ tokenizer }: Model): [string, string] {
  const mark = "\u0001";
  const text = tokenizer!.chat([{ role: "user", content: mark }], { addGenerationPrompt: true });
  const [before = "", after = ""] = text.split(mark);
  return [before, after];
}

/** Enough plain sentences for so many tokens. */
function sentences(tokens: number, random: Random): string {
  const pick = (list: readonly string[]) => list[random.integer(0, list.length)]!;
  const count = Math.ceil(tokens / 6);
  return Array.from({ length: count }, () => `${pick(TIMES)} ${pick(PEOPLE)} ${pick(DEEDS)} the ${pick(PLACES)}.`).join(
    " ",
  );
}

/** The same for a model without a tokenizer: random ids, a needle of four, and its first id again at the end. */
function idQuestion({ config }: Model, length: number, depth: number, random: Random): NeedleQuestion {
  const first = 1;
  const needle = random
    .permutation(config.d_vocab - first)
    .slice(0, 4)
    .map((id) => id + first);
  const others = Array.from({ length: config.d_vocab - first }, (_, i) => i + first).filter(
    (id) => !needle.includes(id),
  );
  const hay = Array.from({ length: length - needle.length - 1 }, () => others[random.integer(0, others.length)]!);
  const start = Math.round(depth * hay.length);
  return {
    ids: [...hay.slice(0, start), ...needle, ...hay.slice(start), needle[0]!],
    span: [start, start + needle.length],
    question: `what followed ${needle[0]}?`,
    expected: needle.slice(1).join(" "),
  };
}
