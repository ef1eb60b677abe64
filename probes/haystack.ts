import { HeadscopeError } from "../backend/common/errors.ts";
import { Random } from "../backend/common/random.ts";
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
}

const COLOURS = ["blue", "red", "green", "white", "golden", "grey", "silver", "brown", "violet", "yellow"];
const PLACES = [
  "harbour",
  "lighthouse",
  "orchard",
  "mill",
  "library",
  "station",
  "bridge",
  "garden",
  "tower",
  "bakery",
];

/** The text around the needle: plain sentences without a number in them. */
const SENTENCES = [
  "The ferry left before the mist had lifted from the water.",
  "A grey cat slept on the wall until the baker opened his shop.",
  "Nobody remembered who had planted the pear trees behind the school.",
  "The clock in the square was slow, and everyone in town knew it.",
  "She folded the letter twice and put it between the pages of an atlas.",
  "Rain fell on the tin roof all night and stopped at dawn.",
  "The old carpenter sharpened his plane and said nothing.",
  "In winter the road over the pass was closed for weeks.",
  "They carried the piano up the stairs without a single scratch.",
  "The teacher wiped the board and asked for silence.",
  "Two swans crossed the pond and disappeared among the reeds.",
  "Fresh bread and coffee were waiting on the kitchen table.",
  "The museum closed early because the heating had failed.",
  "He learned to sail from his aunt, who had never liked the sea.",
  "The children built a dam of stones across the little stream.",
  "A train passed far away, and the windows trembled for a moment.",
  "The painter mixed her colours on the back of a broken plate.",
  "On market days the street smelled of oranges and fish.",
  "The doctor rode a bicycle, even when there was snow.",
  "It took them a whole summer to paint the fence.",
  "The choir practised in the chapel after supper.",
  "Somebody had left an umbrella on the last bench of the tram.",
  "The river was low, and boys walked across it without wet knees.",
  "Her brother repaired radios in a workshop under the arches.",
  "The wind turned to the north, and the fishermen stayed at home.",
  "A list of names hung beside the door of the town hall.",
  "The gardener watered the roses before the sun was high.",
  "They argued about the map until the path ended at a gate.",
  "The soup was too salty, but the guests asked for more.",
  "An owl lived in the barn and was seldom seen.",
  "The bookshop kept its best novels on the highest shelf.",
  "Snow lay on the hills long after the fields had turned green.",
  "The tailor measured the sleeve again and shook his head.",
  "Every evening the lamplighter walked from the gate to the quay.",
  "The apples were small that year, though sweeter than before.",
  "A stranger asked the way to the monastery and thanked them warmly.",
];

/**
 * A needle in a haystack in plain text: sentences, one of which names a number, then the question and the start of its answer.
 * @throws HeadscopeError (usage) for a prompt too short to hold needle and question
 */
export function haystack(tokenizer: Tokenizer, { tokens, depth = 0.5, seed = 0 }: HaystackOptions): Haystack {
  const random = new Random(seed, 3);
  const encode = (text: string): number[] => tokenizer.encode(text, { prependBos: false });
  const subject = `magic number of the ${COLOURS[random.integer(0, COLOURS.length)]} ${PLACES[random.integer(0, PLACES.length)]}`;
  const answer = String(random.integer(1000, 10000));
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
    for (const i of random.permutation(SENTENCES.length)) ids.push(...encode(` ${SENTENCES[i]}`));
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
