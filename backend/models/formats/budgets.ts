/**
 * Limits of what the files of a model may ask for. A file is small beside what it can make a reader do: each limit here leaves room over
 * the largest models there are and bounds the time and memory that reading takes.
 */

/** Tokens of a vocabulary, and one more than the highest id: XLM-V, the largest there is, has 901,629; Gemma 3 has 262,144. */
export const MOST_TOKENS = 2 ** 20;

/** Merges of a tokenizer: Gemma 2 and 3 have about 580,000, two for every token and more. */
export const MOST_MERGES = 2 ** 20;

/** Characters of one token. The longest in use are runs of a hundred-odd spaces; the ways to cut one grow with its length. */
export const LONGEST_TOKEN = 1_024;

/** Places at which the tokens of a vocabulary can be cut, each counted with the characters to be compared: Gemma 3 has some 20 million. */
export const MOST_CUT_CHARACTERS = 2 ** 29;

/** Steps of a tokenizer's pipeline (normalizers, pre-tokenizers, decoders), and rules within them: real ones have a dozen. */
export const MOST_PIECES = 1_024;

/** Bytes of tokenizer.json, and objects and lists inside each other: Gemma 3's has 33 MB, and none nests deeper than 10. */
export const TOKENIZER_JSON = { bytes: 2 ** 27, depth: 32 } as const;

/** Bytes of tokenizer_config.json and special_tokens_map.json: with a thousand added tokens and a template, 1 MB. */
export const TOKENIZER_CONFIG_JSON = { bytes: 2 ** 24, depth: 32 } as const;

/** Bytes of merges.txt, and of tokenizer.model: a quarter of a million tokens take some 5 MB. */
export const LONGEST_MERGES = 2 ** 25;
export const LONGEST_SENTENCE_PIECE = 2 ** 26;

/** Characters of a chat template: the longest in use have some 20,000. */
export const LONGEST_TEMPLATE = 2 ** 20;

/** Bytes of a conversation as a chat template writes it: what no model's context holds. */
export const LONGEST_CHAT = 2 ** 26;

/** Milliseconds of processor time and bytes of heap in which a chat template must have written a conversation; usual ones take a few of both. */
export const TEMPLATE_MS = 5_000;
export const TEMPLATE_BYTES = 2 ** 28;

/**
 * Milliseconds in which a tokenizer's own patterns must have cut a text, beside some for each of its characters: a thousand
 * characters take about one where no pattern backtracks.
 */
export const PATTERN_MS = 3_000;
export const PATTERN_MS_PER_CHARACTER = 0.05;

/** Milliseconds in which a tokenizer must have been built out of its files; a quarter of a million tokens take two seconds. */
export const BUILD_MS = 30_000;

/**
 * Limits of a whole GGUF header. Elements are those of all arrays: Gemma 3's tokens, scores, types and merges are 1.3
 * million. An array costs much more than a number, and no model has arrays of arrays. Names are those of keys and tensors;
 * a model of experts that are not merged has some 50,000 tensors.
 */
export const GGUF_HEADER = {
  elements: 2 ** 22,
  elementsOfAnArray: 256,
  keys: 2 ** 14,
  tensors: 2 ** 17,
  nameBytes: 2 ** 24,
} as const;
