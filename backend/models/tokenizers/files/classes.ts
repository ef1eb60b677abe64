import type { TokenizerDocument } from "../pipeline.ts";
import { GPT2_CUT } from "../steps/pre-tokenizers.ts";

/** A step of tokenizer.json, of any kind. */
export interface TokenizerStep {
  readonly type?: string;
  readonly [setting: string]: unknown;
}

/** Bytes as the printable characters that byte-level vocabularies are written in. */
export const BYTE_LEVEL: TokenizerStep = {
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: false,
};
export const NFC: TokenizerStep = { type: "NFC" };

/** A pre-tokenizer that makes every match of an expression a piece, and what lies between two of them. */
export function cutBy(regex: string): TokenizerStep {
  return { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false };
}

/** Several pre-tokenizers, one after the other. */
export function sequence(...pretokenizers: readonly TokenizerStep[]): TokenizerStep {
  return { type: "Sequence", pretokenizers };
}

/** SentencePiece's mark for a space, in place of each. */
export const MARK: TokenizerStep = { type: "Replace", pattern: { String: " " }, content: "▁" };

/** The steps from a SentencePiece model's tokens to a text. @param prefix whether texts begin with a space of its own */
export function sentencePieceDecoder(prefix: boolean): TokenizerStep {
  const unmark = { type: "Replace", pattern: { String: "▁" }, content: " " };
  const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
  return {
    type: "Sequence",
    decoders: [unmark, { type: "ByteFallback" }, { type: "Fuse" }, ...(prefix ? [strip] : [])],
  };
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const BEFORE = String.raw`[^\r\n\p{L}\p{N}]?`;
/** Punctuation and white space behind words that are cut by case. */
const REST_WITH_SLASH = String.raw`| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const REST = String.raw`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const WORDS = String.raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?\p{L}+|`;

/** The cuts of byte-level families, each as its authors write it. */
export const CUTS = {
  gpt2: GPT2_CUT,
  qwen2: `${WORDS}\\p{N}${REST}`,
  tekken: String.raw`${BEFORE}${UPPER}*${LOWER}+|${BEFORE}${UPPER}+${LOWER}*|\p{N}${REST_WITH_SLASH}`,
  gpt4o: String.raw`${BEFORE}${UPPER}*${LOWER}+${CONTRACTIONS}?|${BEFORE}${UPPER}+${LOWER}*${CONTRACTIONS}?|\p{N}{1,3}${REST_WITH_SLASH}`,
  llama3: `${WORDS}\\p{N}{1,3}${REST}`,
} as const;

/** Knowledge of transformers 5 about a tokenizer class beside the folder's files. */
export interface TokenizerClass {
  /** Special tokens where the files name none; those that the vocabulary lacks are left out. */
  readonly tokens: Readonly<Record<string, string>>;
  /** True when its setting add_prefix_space (default false) replaces that of the byte-level step. */
  readonly setsPrefixSpace: boolean;
  /** The steps around vocab.json and merges.txt. */
  readonly steps: (addPrefixSpace: boolean) => Pick<TokenizerDocument, "normalizer" | "pre_tokenizer" | "decoder">;
}

/** A byte-level class; GPT-2's own cut comes behind the space that it may put before a text, the others' before. */
const byteLevel =
  (cut: string, normalizer: TokenizerStep | null): TokenizerClass["steps"] =>
  (add_prefix_space) => ({
    normalizer,
    pre_tokenizer:
      cut === GPT2_CUT
        ? { ...BYTE_LEVEL, add_prefix_space, use_regex: true }
        : sequence(cutBy(cut), { ...BYTE_LEVEL, add_prefix_space }),
    decoder: BYTE_LEVEL,
  });
const END_OF_TEXT = "<|endoftext|>";

/** Classes of byte-level tokenizers, by the name in tokenizer_config.json without "Fast". */
const CLASSES: Readonly<Record<string, TokenizerClass>> = {
  GPT2Tokenizer: {
    tokens: { bos_token: END_OF_TEXT, eos_token: END_OF_TEXT, unk_token: END_OF_TEXT },
    setsPrefixSpace: true,
    steps: byteLevel(CUTS.gpt2, null),
  },
  GPTNeoXTokenizer: {
    tokens: { bos_token: END_OF_TEXT, eos_token: END_OF_TEXT, unk_token: END_OF_TEXT, pad_token: "<|padding|>" },
    setsPrefixSpace: true,
    steps: byteLevel(CUTS.gpt2, NFC),
  },
  Qwen2Tokenizer: {
    tokens: { eos_token: END_OF_TEXT, unk_token: END_OF_TEXT, pad_token: END_OF_TEXT },
    setsPrefixSpace: true,
    steps: byteLevel(CUTS.qwen2, NFC),
  },
};

/** The class of a model's tokenizer where its own config names none, by model_type. */
const BY_MODEL: Readonly<Record<string, string>> = {
  gpt2: "GPT2Tokenizer",
  gpt_neo: "GPT2Tokenizer",
  opt: "GPT2Tokenizer",
  gpt_neox: "GPTNeoXTokenizer",
  qwen2: "Qwen2Tokenizer",
  qwen3: "Qwen2Tokenizer",
};

/**
 * The class of a folder's tokenizer.
 * @param name `tokenizer_class` of tokenizer_config.json
 * @param modelType `model_type` of config.json
 * @returns undefined for a class whose files say everything
 */
export function tokenizerClass(name: unknown, modelType: unknown): TokenizerClass | undefined {
  const key = typeof name === "string" ? name.replace(/Fast$/, "") : BY_MODEL[String(modelType)];
  return key !== undefined && Object.hasOwn(CLASSES, key) ? CLASSES[key] : undefined;
}
