import { HeadscopeError } from "../../backend/common/errors.ts";
import { Random } from "../../backend/common/random.ts";
import type { Model } from "../../backend/models/model.ts";
import type { Tokenizer } from "../../backend/models/tokenizers/tokenizer.ts";
import { filler } from "../haystack.ts";

/** A text with passkeys in it that are recalled at its end. */
export interface PasskeyText {
  readonly ids: number[];
  /** Positions of the recalled passkeys' tokens. */
  readonly places: number[];
  /** Position at which the questions begin. */
  readonly recall: number;
}

/** The making of texts with passkeys. */
export interface PasskeyOptions {
  /** Tokens of the whole text. */
  readonly tokens: number;
  readonly passkeys: number;
  /** Words of a passkey; tokens of one where the model has no tokenizer. */
  readonly words: number;
  /** Least and greatest place of a passkey: 0 is the start of the text, 1 its end. */
  readonly depths: readonly [number, number];
  /** Places between these that there are to choose from, at least as many as passkeys. */
  readonly intervals: number;
  readonly seed: number;
  /** Number of the text, from 0. */
  readonly number: number;
}

/** Words of passkeys: the spelling alphabet, as DuoAttention's. */
const WORDS = [
  ..."alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november".split(" "),
  ..."oscar papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu".split(" "),
];

/** Names of passkeys, in their order in the text: their number is the most that a text has. */
export const ORDINALS = [
  ..."first second third fourth fifth sixth seventh eighth ninth tenth".split(" "),
  ..."eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth".split(
    " ",
  ),
] as const;

/**
 * A long filler with some random sequences of words in it, the passkeys, and questions for them with their answers at its end.
 * For a model without a tokenizer of ids: passkeys hold ids that stand nowhere else, and follow again at the end without questions.
 * @throws HeadscopeError (usage) for texts too short
 * @see Xiao et al. 2024, DuoAttention, section 3.2; its MultiplePasskeyRetrievalDataset
 */
export function passkeyText(model: Model, options: PasskeyOptions): PasskeyText {
  const random = new Random(options.seed, 1000 + options.number);
  return model.tokenizer ? inWords(model.tokenizer, options, random) : inIds(model, options, random);
}

function inWords(tokenizer: Tokenizer, options: PasskeyOptions, random: Random): PasskeyText {
  const encode = (text: string): number[] => tokenizer.encode(text, { prependBos: false });
  const names = ORDINALS.slice(0, options.passkeys);
  const keys = names.map(() =>
    encode(Array.from({ length: options.words }, () => ` ${WORDS[random.integer(0, WORDS.length)]}`).join("")),
  );
  const needles = names.map((name, i) => [
    ...encode(`\n\nRemember this sequence of words, it is the ${name} passkey to the vault:`),
    ...keys[i]!,
    ...encode("\n\n"),
  ]);
  const questions = names.map((name) =>
    encode(`Based on the content of the book, what is the ${name} passkey to the vault?\nPasskey:`),
  );
  return assembled(options, random, {
    head: [
      ...(tokenizer.bos === undefined ? [] : [tokenizer.bos]),
      ...encode("This is a very long story book: <book>"),
    ],
    needles,
    tail: encode(" </book>.\n\n"),
    answers: questions.map((question, i) => ({ question, key: keys[i]!, end: encode("\n\n") })),
    text: (count) => filler(count, random, encode),
  });
}

function inIds({ config, stops }: Model, options: PasskeyOptions, random: Random): PasskeyText {
  const ends = new Set(stops.tokens.map(({ id }) => id));
  const order = random
    .permutation(config.d_vocab - 1)
    .map((id) => id + 1)
    .filter((id) => !ends.has(id));
  const { passkeys, words } = options;
  if (order.length < 2 * passkeys * words)
    throw new HeadscopeError("unsupported", `a vocabulary of ${config.d_vocab} has no room for the passkeys`, {
      remedy: `give fewer or shorter ones: ${passkeys} of ${words} tokens need ${2 * passkeys * words} ids`,
      field: ["num_passkeys", "passkey_length"],
    });
  const keys = Array.from({ length: passkeys }, (_, i) => order.slice(i * words, (i + 1) * words));
  const others = order.slice(passkeys * words);
  return assembled(options, random, {
    head: [0], // as BOS would stand
    needles: keys,
    tail: [],
    answers: keys.map((key) => ({ question: [], key, end: [] })),
    text: (count) => Array.from({ length: count }, () => others[random.integer(0, others.length)]!),
  });
}

/** The pieces of a text. */
interface Pieces {
  head: number[];
  needles: number[][];
  tail: number[];
  answers: { question: number[]; key: number[]; end: number[] }[];
  text(count: number): number[];
}

function assembled(
  { tokens, depths: [low, high], intervals }: PasskeyOptions,
  random: Random,
  { head, needles, tail, answers, text }: Pieces,
): PasskeyText {
  const recalled = answers.flatMap(({ question, key, end }) => [...question, ...key, ...end]);
  const fixed = head.length + tail.length + recalled.length + needles.reduce((sum, { length }) => sum + length, 0);
  const room = tokens - fixed;
  if (room < needles.length)
    throw new HeadscopeError("usage", `${tokens} tokens can't hold ${needles.length} passkeys and their questions`, {
      remedy: `give at least ${fixed + needles.length} tokens, or fewer or shorter passkeys`,
      field: ["context_length_min", "num_passkeys", "passkey_length"],
    });
  const between = text(room);
  const places = random
    .permutation(intervals)
    .slice(0, needles.length)
    .sort((a, b) => a - b)
    .map((i) => Math.floor(room * (low + ((high - low) * i) / Math.max(1, intervals - 1))));
  const context = needles.flatMap((needle, i) => [...between.slice(places[i - 1] ?? 0, places[i]), ...needle]);
  const ids = [...head, ...context, ...between.slice(places.at(-1)), ...tail];
  const recall = ids.length;
  const wanted: number[] = [];
  for (const { question, key, end } of answers) {
    ids.push(...question);
    wanted.push(...key.map((_, i) => ids.length + i));
    ids.push(...key, ...end);
  }
  return { ids, places: wanted, recall };
}
