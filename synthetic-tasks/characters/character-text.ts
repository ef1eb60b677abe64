import { z } from "zod";
import { Random } from "../../backend/common/random.ts";
import { counted } from "../../backend/common/text.ts";
import { predictorLevel } from "../../backend/training/evaluations.ts";
import { type Batch, type Evaluation, pickRows, rowOf, sequencesOf } from "../../backend/training/task.ts";
import { impossible, task } from "../base.ts";
import { checkMarker, MARKER, marker, POOL_STREAM, SINK_DEFAULTS, sequences } from "../marked.ts";
import { TextAutomaton } from "./automaton.ts";
import { ALPHABET, sentenceForms } from "./sentences.ts";

/** Token ids. */
const IDS = ALPHABET.length + 1;
/** Stream of a seed from which the words are drawn. */
const WORDS_STREAM = 0;
/** Most sequences that are drawn for each of the unique ones. */
const MOST_DRAWS = 16;

const parameters = z.object({
  context: z.int().min(4).max(4096).default(32).describe("characters of a sequence"),
  words: z.int().min(1).max(36).default(20).describe("words of each kind, and whole sentences, that texts have, drawn by the seed; of shorter lists all"),
  plain: z.number().min(0).max(1).default(0.5).describe("share of whole sentences out of a list; all others have words that are drawn"),
  sequences,
  marker,
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** A run's text, and its sequences where they are limited. */
export interface TextWorld {
  readonly text: TextAutomaton;
  readonly pool?: Batch;
}

const idOf = (character: string): number => ALPHABET.indexOf(character) + 1;

/**
 * Stretches of the text. Predictions of the marker, which needs no thought, and from it count nothing.
 * @param counts whether the prediction from a character counts
 */
function batch(
  text: TextAutomaton,
  { context, marker }: Params,
  { random, rows }: { random: Random; rows: number },
  counts: (character: string) => boolean = () => true,
): Batch {
  const tokens = new Int32Array(rows * context); // [rows, positions]
  const classes = new Int32Array(rows * context);
  const weights = new Float32Array(rows * context);
  for (let r = 0; r < rows; r++) {
    let state = text.start(random);
    for (let t = 0; t <= context; t++) {
      const at = r * context + t;
      const marked = t === marker;
      const character = text.characters[state]!;
      const id = marked ? MARKER : idOf(character);
      if (t > 0) classes[at - 1] = id;
      if (t < context) tokens[at] = id;
      if (t < context && !marked && t + 1 !== marker && counts(character)) weights[at] = 1;
      if (!marked) state = text.next(state, random);
    }
  }
  return { rows, tokens, classes, weights };
}

/** Sequences of which no two are alike: the first of as many as it takes. @throws HeadscopeError (usage) where the text has too few */
function differentRows(text: TextAutomaton, params: Params, seed: number): Batch {
  const { sequences } = params;
  for (let rows = sequences; rows <= MOST_DRAWS * sequences; rows *= 2) {
    const drawn = batch(text, params, { random: new Random(seed, POOL_STREAM), rows });
    const first = new Map<string, number>();
    sequencesOf(drawn).forEach((row, r) => {
      const key = row.join(" ");
      if (!first.has(key)) first.set(key, r);
    });
    if (first.size >= sequences) return pickRows(drawn, [...first.values()].slice(0, sequences));
  }
  throw impossible(
    "character-text",
    ["sequences", "context", "words", "plain"],
    `${counted(sequences, "different sequence")} of ${params.context} characters can hardly be found in so small a text`,
    "give fewer sequences, more words, or a longer context",
  );
}

const chance = () => ({ accuracy: 1 / ALPHABET.length, loss: Math.log(ALPHABET.length) });

const fresh: Evaluation<Params, TextWorld> = {
  title: "every next character of new sequences",
  chance,
  sample: ({ text }, params, random, rows) => batch(text, params, { random, rows }),
};

const spelling: Evaluation<Params, TextWorld> = {
  title: "characters behind a letter: how words go on and end",
  chance,
  sample: ({ text }, params, random, rows) =>
    batch(text, params, { random, rows }, (character) => /[a-z]/.test(character)),
};

/** Log-probabilities of the next character, given all before it in the sequence [rows, positions, ids]. */
function predict({ text }: TextWorld, { context, marker }: Params, { rows, tokens }: Batch): Float64Array {
  const chances = new Float64Array(rows * context * IDS);
  for (let r = 0; r < rows; r++) {
    let belief = text.steady;
    for (let t = 0; t < context; t++) {
      const at = r * context + t;
      if (t !== marker) belief = text.after(belief, ALPHABET[tokens![at]! - 1]!);
      for (const [state, chance] of belief) chances[at * IDS + idOf(text.characters[state]!)]! += chance;
    }
  }
  return chances.map(Math.log);
}

/** The characters of a row, the marker as "|". */
const written = ({ tokens }: Batch): string =>
  Array.from(tokens!, (id) => (id === MARKER ? "|" : ALPHABET[id - 1]!)).join("");

/** English-like text in characters, out of sentences that are made here: the second language that attention sinks are grown on. */
export const characterText = task({
  name: "character-text",
  title: "Characters of plain sentences",
  description:
    "Stretches of an endless text of small English sentences in lower case, character by character. Sentences are drawn one by one: whole ones out of a " +
    "list, and passages, deeds and facts whose names, places and things are drawn. Stretches begin anywhere, without BOS. The text is " +
    "written by a finite automaton, so that the best prediction, by the automaton's states that are still possible, is exact.",
  source: "Gu et al. 2025, When Attention Sink Emerges in Language Models (on text; here a toy)",
  parameters,
  shape: ({ context }) => ({
    input: { kind: "tokens", vocabulary: IDS },
    output: { kind: "classes", count: IDS },
    positions: context,
    scored: "all",
  }),
  check: (params) => checkMarker("character-text", params),
  world(params, seed): TextWorld {
    const text = new TextAutomaton(sentenceForms(params, new Random(seed, WORDS_STREAM)));
    if (params.sequences === 0) return { text };
    return { text, pool: differentRows(text, params, seed) };
  },
  sample({ text, pool }, params, random, rows) {
    if (!pool) return batch(text, params, { random, rows });
    return pickRows(
      pool,
      Array.from({ length: rows }, () => random.integer(0, pool.rows)),
    );
  },
  evaluations: { fresh, spelling },
  reference: { title: "the exact posterior over the automaton's states", predict },
  describe(_, __, drawn, row) {
    return `${written(rowOf(drawn, row))}\n${ALPHABET.length} characters; | is the fixed token`;
  },
  document(_, __, drawn, row) {
    const own = rowOf(drawn, row);
    return { text: written(own), tokens: [...own.tokens!] };
  },
  defaults: SINK_DEFAULTS,
});

/**
 * Loss in nats of the exact posterior on new sequences, their mean: the least that a run of this seed can reach.
 * @param params the task's, complete @param sample random numbers and rows of the sequences
 */
export function leastTextLoss(
  params: Readonly<Record<string, unknown>>,
  seed: number,
  sample: { random: Random; rows: number },
): number {
  const own = parameters.parse(params);
  const world = characterText.world(own, seed);
  const drawn = batch(world.text, own, sample);
  return predictorLevel(characterText.shape(own), drawn, predict(world, own, drawn)).loss!;
}
