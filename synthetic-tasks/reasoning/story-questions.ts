import { z } from "zod";
import type { Random } from "../../backend/common/random.ts";
import { type Batch, type Evaluation, rowOf } from "../../backend/training/task.ts";
import { task } from "../base.ts";
import { NAMES } from "../contexts/vocabulary.ts";
import { one } from "../pairs/base.ts";
import type { ChoiceItem } from "./base.ts";
import { DEALINGS, DEEDS, drawQuestion, NOTHING, POLAR, SENTENCES, type SingleQuestion, STORY_QUESTIONS, type StoryQuestion, WHOLE_QUESTIONS, WHOLE_THINGS } from "./stories.ts"; // biome-ignore format: one line

/** Fills the places before a question that is shorter than the longest. */
const PAD = "·";
/** Every word of stories and questions; its place is its id. */
export const STORY_WORDS: readonly string[] = [
  ...new Set([PAD, "Question:", "Answer:", ".", "?", "Did", "What", "did", "not", "the", ...[...DEEDS, ...DEALINGS].flat(), ...NAMES, ...WHOLE_THINGS]),
]; // biome-ignore format: a list
/** Words of the longest question: three sentences, one of them denied, and a question of yes and no. */
export const STORY_LENGTH = 25;
/** Every answer; its place is its class. */
export const STORY_ANSWERS: readonly string[] = [...POLAR, NOTHING, ...WHOLE_THINGS];

const ids: ReadonlyMap<string, number> = new Map(STORY_WORDS.map((word, id) => [word, id]));

/** One question in so many is for evaluations alone. */
const HELD_OUT = 5;
/** Questions whose sentence is left out of the story. */
const DELETED = ["deleted", "which-deleted"] as const;
/** Questions for a thing. */
const WHICH: readonly SingleQuestion[] = ["which", "which-deleted", "which-negated", "nothing"];

const parameters = z.object({
  deletions: z.number().min(0).max(1).default(0).describe("share of training questions whose sentence is left out of the story, with the answer that is then right"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** Ids of a prompt's words, behind as many pads as it lacks [STORY_LENGTH]. */
export function storyIds(prompt: string): number[] {
  const words = prompt.match(/\w+:?|[.?]/g)!;
  return [...Array<string>(STORY_LENGTH - words.length).fill(PAD), ...words].map((word) => ids.get(word)!);
}

/** The story and the question that ids stand for. */
export function storyText(question: Iterable<number>): string {
  const words = Array.from(question, (id) => STORY_WORDS[id]!).filter((word) => word !== PAD);
  return words
    .join(" ")
    .replace(/ (?=[.?])/g, "")
    .replace(/ (?=Question:|Answer:)/g, "\n");
}

/** Tells if a question is kept from training; with it are all that have the same words, whatever their order. */
function heldOut(question: readonly number[]): boolean {
  return question.reduce((sum, id) => sum + id, 0) % HELD_OUT === 0;
}

/** @param held true for questions that no training shows @param asked draws a question's kind @param answered class of every target, default the right answer's */
function batch(
  { random, rows, held }: { random: Random; rows: number; held: boolean },
  asked: () => SingleQuestion,
  answered?: string,
): Batch {
  const tokens = new Int32Array(rows * STORY_LENGTH); // [rows, positions]
  const classes = new Int32Array(rows);
  for (let r = 0; r < rows; r++) {
    const question = asked();
    let item: ChoiceItem;
    let words: number[];
    do {
      item = drawQuestion(random, question);
      words = storyIds(item.prompt);
    } while (heldOut(words) !== held);
    tokens.set(words, r * STORY_LENGTH);
    classes[r] = STORY_ANSWERS.indexOf(answered ?? item.choices[item.answer]!);
  }
  return { rows, tokens, classes, weights: new Float32Array(rows).fill(1) };
}

/** Answers among which one would guess. */
const choicesOf = (question: SingleQuestion): number => (WHICH.includes(question) ? SENTENCES + 1 : POLAR.length);

/** @param answered as `batch` */
function evaluation(title: string, question: SingleQuestion, answered?: string): Evaluation<Params, null> {
  const chance = { accuracy: 1 / choicesOf(question), loss: Math.log(choicesOf(question)) };
  return {
    title,
    chance: () => chance,
    sample: (_, __, random, rows) => batch({ random, rows, held: true }, () => question, answered),
  };
}

const TITLES: Readonly<Record<StoryQuestion, string>> = {
  true: "yes, of the story as it is",
  false: "no, of the story as it is",
  deleted: "unknown, its sentence left out",
  negated: "no, its sentence negated",
  which: "a thing, of the story as it is",
  "which-deleted": "nothing, its sentence left out",
  "which-negated": "nothing, its sentence negated",
  straight: "yes, who to whom",
  other: "no, another person",
  swapped: "no, the two people exchanged",
};

/** Questions about stories that toys can learn to read. */
export const storyQuestions = task({
  name: "story-questions",
  title: "Questions about short stories",
  description:
    "A story of two or three sentences and a question, word by word: did Anna buy the lamp, what did Anna buy, did Tom pay Anna? Training asks about " +
    "sentences as they are, among others that may be negated or left out, and about people who are not there; evaluations also leave out or negate the " +
    "sentence that is asked about, or exchange its people. A fifth of all questions is kept from training, and evaluations draw from those.",
  source: "Chaturvedi et al. 2024, Analyzing Semantic Faithfulness of Language Models via Input Intervention on Conversational Question Answering",
  parameters,
  shape: () => ({
    input: { kind: "tokens", vocabulary: STORY_WORDS.length },
    output: { kind: "classes", count: STORY_ANSWERS.length },
    positions: STORY_LENGTH,
    scored: "last",
  }),
  check() {},
  world: () => null,
  sample: (_, { deletions }, random, rows) =>
    batch({ random, rows, held: false }, () => one(random, random.uniform() < deletions ? DELETED : WHOLE_QUESTIONS)),
  evaluations: {
    ...Object.fromEntries(STORY_QUESTIONS.map((name) => [name, evaluation(TITLES[name], name)])),
    kept: evaluation("yes, though its sentence is left out: the answer of the whole story", "deleted", POLAR[0]!),
  },
  describe(_, __, drawn, row) {
    const { tokens, classes } = rowOf(drawn, row);
    return `${storyText(tokens!)} ${STORY_ANSWERS[classes![0]!]!}`;
  },
  defaults: {
    model: { n_layers: 2, n_heads: 4, d_model: 64, attn_only: false },
    training: { steps: 3000, batch: 64, learning_rate: 2e-3, schedule: "cosine", warmup: 100, clip: 1 },
  },
}); // biome-ignore format: a table
