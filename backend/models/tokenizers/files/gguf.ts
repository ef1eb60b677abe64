import { HeadscopeError } from "../../../common/errors.ts";
import { LONGEST_TOKEN, MOST_MERGES, MOST_TOKENS } from "../../formats/budgets.ts";
import { Bpe } from "../models/bpe.ts";
import { mergeRanks } from "../models/merge-ranks.ts";
import { type Pieces, SentencePieceBpe } from "../models/sentence-piece.ts";
import { damaged, Vocabulary } from "../models/token-model.ts";
import { type OwnModel, Pipeline, type TokenizerDocument } from "../pipeline.ts";
import { buildTokenizer, type Settings, type Tokenizer } from "../tokenizer.ts";
import { BYTE_LEVEL, CUTS, cutBy, MARK, NFC, sentencePieceDecoder, sequence, type TokenizerStep } from "./classes.ts";

type Metadata = Readonly<Record<string, unknown>>;

/** Preparation of a text that a GGUF file names only, by `tokenizer.ggml.pre`. */
interface Preparation {
  readonly pre_tokenizer: TokenizerStep;
  readonly normalizer?: TokenizerStep;
  /** A word that is a token is not merged out of smaller ones. */
  readonly ignore_merges?: boolean;
  /** Puts BOS first where the file does not say. */
  readonly addsBos?: boolean;
}

const byteLevelCut = (cut: string): TokenizerStep => sequence(cutBy(cut), BYTE_LEVEL);
const gpt2 = byteLevelCut(CUTS.gpt2);
const neox: Preparation = { pre_tokenizer: gpt2, normalizer: NFC };
const digits: TokenizerStep = { type: "Digits", individual_digits: true };
const oneDigit: Preparation = { pre_tokenizer: sequence(digits, cutBy(CUTS.gpt2), BYTE_LEVEL) };
const threeDigits = byteLevelCut(CUTS.llama3);
const llama3: Preparation = { pre_tokenizer: threeDigits, ignore_merges: true, addsBos: true };
const qwen2: Preparation = { pre_tokenizer: byteLevelCut(CUTS.qwen2), normalizer: NFC };

/** Preparations by `tokenizer.ggml.pre`: each prepares a text for merging, in the terms of tokenizer.json. */
const PREPARATIONS: Readonly<Record<string, Preparation>> = {
  default: { pre_tokenizer: gpt2 },
  "gpt-2": { pre_tokenizer: gpt2 },
  "phi-2": { pre_tokenizer: gpt2 },
  olmo: neox,
  mpt: neox,
  smollm: oneDigit,
  starcoder: oneDigit,
  "llama-bpe": llama3,
  "llama-v3": llama3,
  llama3,
  "gpt-4o": { pre_tokenizer: byteLevelCut(CUTS.gpt4o), ignore_merges: true },
  dbrx: { pre_tokenizer: threeDigits },
  qwen2,
  "deepseek-r1-qwen": qwen2,
  tekken: { pre_tokenizer: byteLevelCut(CUTS.tekken), ignore_merges: true, addsBos: true },
};

/** `tokenizer.ggml.token_type`: control tokens are special; user-defined ones are only never split. */
const [NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE] = [1, 2, 3, 4, 5, 6] as const;

/** One kind of tokenizer, `tokenizer.ggml.model`. */
interface Kind {
  readonly normalizer: TokenizerStep | null;
  readonly pre_tokenizer: TokenizerStep | null;
  readonly decoder: TokenizerStep;
  /** Puts BOS first where the file does not say. */
  readonly addsBos: boolean;
  /** The model as tokenizer.json would have it. */
  readonly written: () => object;
  /** The model itself. */
  readonly own: () => OwnModel;
}

/** Parts that every kind of tokenizer has. */
interface Common {
  readonly metadata: Metadata;
  readonly tokens: readonly string[];
  /** Of two tokens with one text the later one, as llama.cpp has it. */
  readonly ids: ReadonlyMap<string, number>;
  /** Token types; undefined where the file has none. */
  readonly types: ArrayLike<number> | undefined;
}

const KINDS: Readonly<Record<string, (common: Common) => Kind>> = { gpt2: byteLevel, llama: sentencePiece };

/** Special tokens by the names that templates have for them, and GGUF's. */
const SPECIAL = {
  bos_token: "bos",
  eos_token: "eos",
  unk_token: "unknown",
  sep_token: "seperator",
  pad_token: "padding",
  cls_token: "cls",
  mask_token: "mask",
} as const;

/**
 * The tokenizer that a GGUF file carries: byte-level BPE from its tokens and merges, or a SentencePiece model of the BPE kind
 * from its tokens and scores. Two tokens with one text and special ids outside the vocabulary are noted, not refused.
 * @param metadata the file's key-value pairs (`tokenizer.ggml.*`, `tokenizer.chat_template`)
 * @throws HeadscopeError "unsupported" for another kind of tokenizer, "corrupt" for a damaged one
 */
export function tokenizerFromGguf(metadata: Metadata): Tokenizer {
  const { steps, own, size, settings } = describeGgufTokenizer(metadata);
  return buildTokenizer(() => new Pipeline(steps, own()), size, settings);
}

/** A GGUF file's tokenizer as tokenizer.json has one, and what stands beside it. */
export interface GgufTokenizer {
  readonly steps: TokenizerDocument;
  /** The model as tokenizer.json has it; a SentencePiece model's scores are a list of merges there. */
  readonly written: () => object;
  readonly own: () => OwnModel;
  readonly size: number;
  readonly settings: Settings;
}

/**
 * Describes the tokenizer that a GGUF file carries, without building it.
 * @throws as `tokenizerFromGguf`
 */
export function describeGgufTokenizer(metadata: Metadata): GgufTokenizer {
  const name = metadata["tokenizer.ggml.model"];
  if (typeof name !== "string" || !Object.hasOwn(KINDS, name)) {
    const label = name === undefined ? "no tokenizer" : `a tokenizer of kind "${String(name)}"`;
    throw unsupported(`the GGUF file has ${label}; "gpt2" (byte-level BPE) and "llama" (SentencePiece) are read`);
  }
  const tokens = strings(metadata, "tokenizer.ggml.tokens", MOST_TOKENS);
  const long = tokens.find((token) => token.length > LONGEST_TOKEN);
  if (long !== undefined) throw damaged(`a token has ${long.length} characters; ${LONGEST_TOKEN} are the most`);
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const common = { metadata, tokens, ids, types: numbers(metadata, "tokenizer.ggml.token_type", tokens.length) };
  const { addsBos, written, own, ...steps } = KINDS[name]!(common);
  const template = metadata["tokenizer.chat_template"];
  const [bos, eos] = [tokenId(common, "bos"), tokenId(common, "eos")];
  const flag = (key: string, otherwise: boolean) => (metadata[`tokenizer.ggml.${key}`] ?? otherwise) === true;
  const one = (adds: boolean, id: number | undefined) => (adds && id !== undefined ? [id] : []);
  return {
    steps: { ...steps, added_tokens: addedTokens(common) },
    written,
    own,
    size: tokens.length,
    settings: {
      bos,
      eos,
      front: one(flag("add_bos_token", addsBos), bos),
      behind: one(flag("add_eos_token", false), eos),
      chatTemplate: typeof template === "string" ? template : undefined,
      specialTokens: specialTokens(common),
      notes: [...duplicates(common), ...strangers(common)],
    },
  };
}

function specialTokens(common: Common): Record<string, string> {
  const entries = Object.entries(SPECIAL).map(([name, key]) => [name, tokenId(common, key)] as const);
  return Object.fromEntries(entries.flatMap(([name, id]) => (id === undefined ? [] : [[name, common.tokens[id]!]])));
}

function duplicates({ tokens, ids }: Common): string[] {
  const earlier = tokens.findIndex((token, id) => ids.get(token) !== id);
  if (earlier < 0) return [];
  const token = tokens[earlier]!;
  const first = `ids ${earlier} and ${ids.get(token)} are both ${JSON.stringify(token.slice(0, 40))}`;
  return [`tokens with the text of a later one, which counts: ${tokens.length - ids.size}; ${first}`];
}

function strangers({ metadata, tokens }: Common): string[] {
  return Object.values(SPECIAL).flatMap((name) => {
    const key = `tokenizer.ggml.${name}_token_id`;
    const id = metadata[key];
    if (id === undefined || isId(id, tokens.length)) return [];
    return [`${key} is ${String(id).slice(0, 40)}, outside the ${tokens.length} tokens: it is left out`];
  });
}

function byteLevel({ metadata, ids, tokens }: Common): Kind {
  const pre = metadata["tokenizer.ggml.pre"] ?? "gpt-2";
  if (typeof pre !== "string" || !Object.hasOwn(PREPARATIONS, pre)) {
    const names = Object.keys(PREPARATIONS).join(", ");
    throw unsupported(`the tokenizer cuts texts as "${String(pre)}"; ${names} are known`);
  }
  const { pre_tokenizer, normalizer = null, ignore_merges = false, addsBos = false } = PREPARATIONS[pre]!;
  const merges = pairs(strings(metadata, "tokenizer.ggml.merges", MOST_MERGES), ids);
  return {
    normalizer,
    pre_tokenizer,
    decoder: { ...BYTE_LEVEL, use_regex: true },
    addsBos,
    written: () => bpe(ids, { merges, ignore_merges }),
    own: () => {
      const vocabulary = new Vocabulary(ids, tokens);
      const settings = { ignore_merges, fuse_unk: false, byte_fallback: false };
      return { vocabulary, model: new Bpe(vocabulary, merges, settings) };
    },
  };
}

function sentencePiece(common: Common): Kind {
  const { metadata, tokens, ids, types } = common;
  const scores = numbers(metadata, "tokenizer.ggml.scores", tokens.length);
  if (scores === undefined) throw damaged("tokenizer.ggml.scores is missing");
  const isPiece = (id: number) => types === undefined || types[id] === NORMAL || types[id] === UNUSED;
  const byteFallback = types !== undefined && Array.prototype.includes.call(types, BYTE);
  const unknown = tokenId(common, "unknown");
  const prefix = metadata["tokenizer.ggml.add_space_prefix"] !== false;
  const pieces: Pieces = { tokens, scores, ids, isPiece, unknown, byteFallback };
  return {
    normalizer: { type: "Sequence", normalizers: [...(prefix ? [{ type: "Prepend", prepend: "▁" }] : []), MARK] },
    pre_tokenizer: null,
    decoder: sentencePieceDecoder(prefix),
    addsBos: true,
    written: () => {
      const unk_token = unknown === undefined ? null : tokens[unknown]!;
      const merges = [...mergeRanks(tokens, scores, isPiece)].sort(([, a], [, b]) => a - b);
      const settings = { unk_token, fuse_unk: true, byte_fallback: byteFallback };
      return bpe(ids, { ...settings, merges: merges.map(([pair]) => JSON.parse(pair) as unknown) });
    },
    own: () => ({ vocabulary: new Vocabulary(ids, tokens), model: new SentencePieceBpe(pieces) }),
  };
}

function bpe(ids: ReadonlyMap<string, number>, settings: Readonly<Record<string, unknown>>): object {
  return {
    type: "BPE",
    vocab: Object.fromEntries(ids),
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    ...settings,
  };
}

/** Tokens that are found in a text before anything else is done with it. */
function addedTokens({ metadata, tokens, types }: Common): object[] {
  // Phi-3's special tokens take the white space behind them, which GGUF has no field for; llama.cpp knows it by name too.
  const takesSpace = metadata["tokenizer.ggml.model"] === "llama" && metadata["general.architecture"] === "phi3";
  return tokens.flatMap((content, id) => {
    const kind = types?.[id];
    if (kind !== CONTROL && kind !== USER_DEFINED && kind !== UNKNOWN) return [];
    const special = kind !== USER_DEFINED;
    const rstrip = takesSpace && special && !["<s>", "<unk>", "<|endoftext|>"].includes(content);
    return [{ id, content, special, single_word: false, lstrip: false, rstrip, normalized: false }];
  });
}

function unsupported(what: string): HeadscopeError {
  return new HeadscopeError("unsupported", what, { remedy: "give token ids instead of text" });
}

function strings(metadata: Metadata, key: string, most: number): readonly string[] {
  const value = metadata[key];
  if (Array.isArray(value) && value.length > most)
    throw damaged(`${key} has ${value.length} entries; ${most} are the most`);
  if (!Array.isArray(value) || value.some((item) => typeof item !== "string")) {
    throw damaged(`${key} is ${value === undefined ? "missing" : "no list of strings"}`);
  }
  return value;
}

/** One number a token, or undefined where the file has none. */
function numbers(metadata: Metadata, key: string, length: number): ArrayLike<number> | undefined {
  const value = metadata[key];
  if (!ArrayBuffer.isView(value)) return undefined;
  const entries = value as Int32Array | Float32Array;
  if (entries.length !== length) throw damaged(`${key} has ${entries.length} entries for ${length} tokens`);
  if (Array.prototype.some.call(entries, Number.isNaN)) throw damaged(`${key} holds NaN`);
  return entries;
}

const isId = (id: unknown, size: number): id is number =>
  typeof id === "number" && Number.isInteger(id) && id >= 0 && id < size;

/** Id of a special token; undefined where the file names none, or one outside the vocabulary (see `strangers`). */
function tokenId({ metadata, tokens }: Common, name: (typeof SPECIAL)[keyof typeof SPECIAL]): number | undefined {
  const id = metadata[`tokenizer.ggml.${name}_token_id`];
  return isId(id, tokens.length) ? id : undefined;
}

/** Merges as pairs. A byte-level token holds no space (byte 32 is written Ġ), so the first one divides the two. */
function pairs(merges: readonly string[], ids: ReadonlyMap<string, number>): [string, string][] {
  return merges.map((merge) => {
    const space = merge.indexOf(" ");
    const [left, right] = [merge.slice(0, space), merge.slice(space + 1)];
    if (space < 1 || !ids.has(left) || !ids.has(right) || !ids.has(left + right)) {
      throw damaged(`the merge ${JSON.stringify(merge.slice(0, 60))} joins no two tokens into a third`);
    }
    return [left, right];
  });
}
