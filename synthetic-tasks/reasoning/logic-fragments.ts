import { z } from "zod";
import type { Random } from "../../backend/common/random.ts";
import { type Batch, type Evaluation, rowOf } from "../../backend/training/task.ts";
import { task } from "../base.ts";
import { FRAGMENT_WORDS, pairingOf, QUESTION_WORDS, questionIds } from "./fragment-words.ts";
import { drawPairing, FRAGMENTS, PLAIN, TRUTHS } from "./fragments.ts";

const ALL = [PLAIN, ...FRAGMENTS];
const NAMES = ALL.map(({ name }) => name);

/** One question in so many is for evaluations alone. */
const HELD_OUT = 5;

const parameters = z.object({
  fragments: z
    .array(z.enum(NAMES))
    .min(1)
    .refine((names) => new Set(names).size === names.length, "give each fragment once")
    .default(NAMES)
    .describe("fragments of the training, plain inference among them"),
  plain_share: z.number().min(0).max(1).default(0.5).describe("share of plain inference in the training where it is mixed with other fragments, which are equally frequent"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** Tells if a question is kept from training; with it are all that have the same words, whatever their order. */
function heldOut(question: readonly number[]): boolean {
  return question.reduce((sum, id) => sum + id, 0) % HELD_OUT === 0;
}

/** Questions with every answer equally often. @param fragment draws the place in `ALL` of a question's */
function batch(random: Random, rows: number, fragment: () => number, held: boolean): Batch {
  const tokens = new Int32Array(rows * QUESTION_WORDS); // [rows, positions]
  const classes = Int32Array.from(random.permutation(rows), (place) => place % TRUTHS.length);
  const layout = Int32Array.from({ length: rows }, fragment);
  for (let r = 0; r < rows; r++) {
    let question: number[];
    do question = questionIds(drawPairing(ALL[layout[r]!]!, classes[r]!, random));
    while (heldOut(question) !== held);
    tokens.set(question, r * QUESTION_WORDS);
  }
  return { rows, tokens, classes, weights: new Float32Array(rows).fill(1), layout };
}

/** @param names of the fragments, each equally often */
function evaluation(title: string, names: readonly string[]): Evaluation<Params, null> {
  const places = names.map((name) => NAMES.indexOf(name));
  return {
    title,
    chance: () => ({ accuracy: 1 / TRUTHS.length, loss: Math.log(TRUTHS.length) }),
    sample: (_, __, random, rows) => batch(random, rows, () => places[random.integer(0, places.length)]!, true),
  };
}

/** Names of the fragments that hang on a piece of logic. */
const LOGIC = FRAGMENTS.map(({ name }) => name);

/** Inference about fragments of logic in words that toys can learn. */
export const logicFragments = task({
  name: "logic-fragments",
  title: "Inference about fragments of logic",
  description:
    "A premise and a hypothesis, word by word: does it follow, is it against the premise, or unknown? Plain inference needs no more than to " +
    "read who has been where; the fragments hang on a negation, on 'and', quantifiers, numbers, conditions, comparisons or monotonicity. A fifth of all " +
    "questions is kept from training, and evaluations draw from those.",
  source: "Richardson et al. 2020, Probing Natural Language Inference Models through Semantic Fragments",
  parameters,
  shape: () => ({
    input: { kind: "tokens", vocabulary: FRAGMENT_WORDS.length },
    output: { kind: "classes", count: TRUTHS.length },
    positions: QUESTION_WORDS,
    scored: "last",
  }),
  check() {},
  world: () => null,
  sample(_, { fragments, plain_share }, random, rows) {
    const logic = fragments.filter((name) => name !== PLAIN.name).map((name) => NAMES.indexOf(name));
    const plain = fragments.includes(PLAIN.name) ? (logic.length > 0 ? plain_share : 1) : 0;
    const fragment = () => (random.uniform() < plain ? 0 : logic[random.integer(0, logic.length)]!);
    return batch(random, rows, fragment, false);
  },
  evaluations: {
    plain: evaluation("plain inference", [PLAIN.name]),
    fragments: evaluation(`the ${LOGIC.length} fragments of logic together`, LOGIC),
    ...Object.fromEntries(LOGIC.map((name) => [name, evaluation(`the fragment of ${name}`, [name])])),
  },
  reference: {
    title: "the right answer, which the premise decides",
    predict: (_, __, { rows, classes }) =>
      Float64Array.from({ length: rows * TRUTHS.length }, (_, i) =>
        classes![Math.floor(i / TRUTHS.length)] === i % TRUTHS.length ? 0 : Number.NEGATIVE_INFINITY),
  },
  describe(_, __, drawn, row) {
    const { premise, hypothesis, answer, fragment } = questionOf(drawn, row);
    return `${premise}\n${hypothesis} ${answer}\n${fragment}, fragment ${NAMES.indexOf(fragment)} of ${LOGIC.length}`;
  },
  document: (_, __, drawn, row) => ({ ...questionOf(drawn, row), tokens: [...rowOf(drawn, row).tokens!] }),
  defaults: {
    model: { n_layers: 2, n_heads: 4, d_model: 64, attn_only: false },
    training: { steps: 3000, batch: 64, learning_rate: 2e-3, schedule: "cosine", warmup: 100, clip: 1 },
  },
}); // biome-ignore format: a table

/** A row in words. */
function questionOf(drawn: Batch, row: number) {
  const { tokens, classes, layout } = rowOf(drawn, row);
  const [premise, hypothesis] = pairingOf(tokens!);
  return { premise, hypothesis, answer: TRUTHS[classes![0]!]!, fragment: NAMES[layout![0]!]! };
}
