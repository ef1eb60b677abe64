import { HeadscopeError } from "../backend/common/errors.ts";
import { Random } from "../backend/common/random.ts";
import { COLOURS, FILLER, PLACES } from "../backend/common/texts/haystack.ts";
import type { Model } from "../backend/models/model.ts";
import type { Tokenizer } from "../backend/models/tokenizers/tokenizer.ts";

/** A question about one sentence somewhere in a long text. */
export interface Haystack {
  /** The prompt, of exactly the tokens asked for. */
  ids: number[];
  /** Span of the sentence: [start, end). */
  needleSpan: [number, number];
  /** The sentence; ids with spaces between where there is no tokenizer. */
  needle: string;
  question: string;
  /** Text that a right answer holds. */
  answer: string;
}

export interface HaystackOptions {
  /** Tokens of the whole prompt. */
  tokens: number;
  /** Place of the needle: 0 at the start of the text, 1 at its end. Default 0.5. */
  depth?: number;
  /** Decides the needle and the order of sentences. Default 0. */
  seed?: number;
  /** Number that the needle names; default one that the seed decides, as all else. */
  number?: number;
}

/**
 * A needle in a haystack in plain text: sentences, one of which names a number, then the question and the start of its answer.
 * @throws HeadscopeError (usage) for a prompt too short to hold needle and question
 */
export function haystack(tokenizer: Tokenizer, { tokens, depth = 0.5, seed = 0, number }: HaystackOptions): Haystack {
  const random = new Random(seed, 3);
  const encode = (text: string): number[] => tokenizer.encode(text, { prependBos: false });
  const subject = `magic number of the ${COLOURS[random.integer(0, COLOURS.length)]} ${PLACES[random.integer(0, PLACES.length)]}`;
  const drawn = random.integer(1000, 10000);
  const answer = String(number ?? drawn);
  const needle = ` The ${subject} is ${answer}.`;
  const question = `What is the ${subject}?`;
  const head = tokenizer.bos === undefined ? [] : [tokenizer.bos];
  const needleIds = encode(needle);
  const tail = encode(`\n\nQuestion: ${question}\nAnswer: The ${subject} is`);
  const room = tokens - head.length - needleIds.length - tail.length;
  if (room < 1) throw tooShort(tokens, tokens - room + 1);
  const text = filler(room, random, encode);
  const cut = Math.round(depth * room);
  const start = head.length + cut;
  return {
    ids: [...head, ...text.slice(0, cut), ...needleIds, ...text.slice(cut), ...tail],
    needleSpan: [start, start + needleIds.length],
    needle: needle.trim(),
    question,
    answer,
  };
}

/** So many tokens of sentences, each order of them different. */
export function filler(count: number, random: Random, encode: (text: string) => number[]): number[] {
  const ids: number[] = [];
  while (ids.length < count) {
    for (const i of random.permutation(FILLER.length)) ids.push(...encode(` ${FILLER[i]}`));
  }
  return ids.slice(0, count);
}

const NEEDLE_IDS = 6;

/**
 * The same for a model without a tokenizer: random ids, a needle of ids that stand nowhere else, and its first two again at the end.
 * @throws HeadscopeError (usage) for a prompt or a vocabulary too small
 */
export function idHaystack(
  { config, stops }: Pick<Model, "config" | "stops">,
  { tokens, depth = 0.5, seed = 0 }: HaystackOptions,
): Haystack {
  const random = new Random(seed, 3);
  const cue = 2;
  const room = tokens - 1 - NEEDLE_IDS - cue;
  if (room < 1) throw tooShort(tokens, tokens - room + 1);
  if (config.d_vocab < 2 * NEEDLE_IDS)
    throw new HeadscopeError("unsupported", `a vocabulary of ${config.d_vocab} has no room for a needle`, {
      remedy: "give cases of your own",
    });
  // Id 0 stands first, as BOS would; one that ends an answer can't be part of it.
  const ends = new Set(stops.tokens.map(({ id }) => id));
  const order = random
    .permutation(config.d_vocab - 1)
    .map((id) => id + 1)
    .filter((id) => !ends.has(id));
  const needle = order.slice(0, NEEDLE_IDS);
  const others = order.slice(NEEDLE_IDS);
  const text = Array.from({ length: room }, () => others[random.integer(0, others.length)]!);
  const cut = Math.round(depth * room);
  return {
    ids: [0, ...text.slice(0, cut), ...needle, ...text.slice(cut), ...needle.slice(0, cue)],
    needleSpan: [1 + cut, 1 + cut + NEEDLE_IDS],
    needle: needle.join(" "),
    question: `what follows ${needle.slice(0, cue).join(" ")}?`,
    answer: needle.slice(cue).join(" "),
  };
}

/** A haystack in text where the model has a tokenizer, of ids otherwise. */
export function haystackFor(model: Model, options: HaystackOptions): Haystack {
  return model.tokenizer ? haystack(model.tokenizer, options) : idHaystack(model, options);
}

function tooShort(tokens: number, least: number): HeadscopeError {
  return new HeadscopeError("usage", `a haystack of ${tokens} tokens can't hold its needle and question`, {
    remedy: `give at least ${least} tokens`,
  });
}
