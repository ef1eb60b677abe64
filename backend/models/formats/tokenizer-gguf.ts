import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { HeadscopeError } from "../../errors.ts";
import { MOST_MERGES, MOST_TOKENS } from "./budgets.ts";
import { mergeRanks } from "./sentence-piece.ts";
import { buildTokenizer, type Settings, type Tokenizer } from "./tokenizer.ts";
import { BYTE_LEVEL, cutBy, cutDigits, GPT2_CUT, type Step, sequence, stripsFirst } from "./tokenizer-pipeline.ts";

type Metadata = Readonly<Record<string, unknown>>;

/** What a GGUF file leaves to be known by a name, `tokenizer.ggml.pre`. */
interface Preparation {
  readonly pre_tokenizer: Step;
  readonly normalizer?: Step;
  /** A word that is a token is not merged out of smaller ones. */
  readonly ignore_merges?: boolean;
  /** Whether BOS comes first where the file does not say. */
  readonly addsBos?: boolean;
}

const NFC: Step = { type: "NFC" };
const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const REST = String.raw`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const WORDS = String.raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?\p{L}+|`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const BEFORE = String.raw`[^\r\n\p{L}\p{N}]?`;
const TEKKEN = String.raw`${BEFORE}${UPPER}*${LOWER}+|${BEFORE}${UPPER}+${LOWER}*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

const gpt2 = sequence(cutBy(GPT2_CUT), BYTE_LEVEL);
const neox: Preparation = { pre_tokenizer: gpt2, normalizer: NFC };
const oneDigit: Preparation = { pre_tokenizer: sequence(cutDigits(true), cutBy(GPT2_CUT), BYTE_LEVEL) };
const threeDigits = sequence(cutBy(`${WORDS}\\p{N}{1,3}${REST}`), BYTE_LEVEL);
const llama3: Preparation = { pre_tokenizer: threeDigits, ignore_merges: true, addsBos: true };
const qwen2: Preparation = { pre_tokenizer: sequence(cutBy(`${WORDS}\\p{N}${REST}`), BYTE_LEVEL), normalizer: NFC };

/** How each `tokenizer.ggml.pre` prepares a text for merging, in the terms of tokenizer.json. */
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
  dbrx: { pre_tokenizer: threeDigits },
  qwen2,
  "deepseek-r1-qwen": qwen2,
  tekken: { pre_tokenizer: sequence(cutBy(TEKKEN), BYTE_LEVEL), ignore_merges: true, addsBos: true },
};

/** `tokenizer.ggml.token_type`: control tokens are special; user-defined ones are only never split. */
const [NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE] = [1, 2, 3, 4, 5, 6] as const;

/** A tokenizer's pieces as the package takes them. */
interface Description {
  readonly model: object;
  readonly normalizer: Step | null;
  readonly pre_tokenizer: Step | null;
  readonly decoder: Step;
  readonly addsBos: boolean;
  /** Ranks of merges by the two tokens, where they are not those of a list. */
  readonly ranks?: () => Map<string, number>;
}

/** What every kind of tokenizer has. */
interface Common {
  readonly metadata: Metadata;
  readonly tokens: readonly string[];
  readonly ids: ReadonlyMap<string, number>;
  /** Token types; undefined where the file has none. */
  readonly types: ArrayLike<number> | undefined;
}

const KINDS: Readonly<Record<string, (common: Common) => Description>> = { gpt2: byteLevel, llama: sentencePiece };

/**
 * The tokenizer that a GGUF file carries: byte-level BPE from its tokens and merges, or a SentencePiece model of the BPE kind
 * from its tokens and scores.
 * @param metadata the file's key-value pairs (`tokenizer.ggml.*`, `tokenizer.chat_template`)
 * @throws HeadscopeError "unsupported" for another kind of tokenizer, "corrupt" for a damaged one
 */
export function tokenizerFromGguf(metadata: Metadata): Tokenizer {
  const { document, ranks, size, settings } = describeGgufTokenizer(metadata);
  const make = (): HuggingFaceTokenizer => {
    const made = new HuggingFaceTokenizer(document, {});
    if (ranks) (made as unknown as { model: { bpe_ranks: Map<string, number> } }).model.bpe_ranks = ranks();
    return made;
  };
  return buildTokenizer(make, size, settings);
}

/** A GGUF file's tokenizer as tokenizer.json has one, and what stands beside it. */
export interface GgufTokenizer {
  readonly document: { readonly model: object } & Readonly<Record<string, unknown>>;
  /** Ranks of merges by the pair as JSON, where the document has none of them (a SentencePiece model). */
  readonly ranks: (() => Map<string, number>) | undefined;
  readonly size: number;
  readonly settings: Settings;
}

/**
 * Describes the tokenizer that a GGUF file carries, without building it.
 * @throws as `tokenizerFromGguf`
 */
export function describeGgufTokenizer(metadata: Metadata): GgufTokenizer {
  const kind = metadata["tokenizer.ggml.model"];
  if (typeof kind !== "string" || !Object.hasOwn(KINDS, kind)) {
    const found = kind === undefined ? "no tokenizer" : `a tokenizer of kind "${String(kind)}"`;
    throw unsupported(`the GGUF file has ${found}; "gpt2" (byte-level BPE) and "llama" (SentencePiece) are read`);
  }
  const tokens = strings(metadata, "tokenizer.ggml.tokens", MOST_TOKENS);
  const ids = vocabulary(tokens);
  const types = numbers(metadata, "tokenizer.ggml.token_type", tokens.length);
  const common = { metadata, tokens, ids, types };
  const { addsBos, ranks, ...pipeline } = KINDS[kind]!(common);
  const added_tokens = addedTokens(common);
  const bos = tokenId(metadata, "tokenizer.ggml.bos_token_id", tokens.length);
  const template = metadata["tokenizer.chat_template"];
  return {
    document: { version: "1.0", post_processor: null, added_tokens, ...pipeline },
    ranks,
    size: tokens.length,
    settings: {
      bos,
      eos: tokenId(metadata, "tokenizer.ggml.eos_token_id", tokens.length),
      addsBos:
        ((metadata["tokenizer.ggml.add_bos_token"] as boolean | undefined) ?? addsBos) === true && bos !== undefined,
      chatTemplate: typeof template === "string" ? template : undefined,
      stripsFirst: stripsFirst(pipeline.decoder),
    },
  };
}

function byteLevel({ metadata, ids }: Common): Description {
  const pre = metadata["tokenizer.ggml.pre"] ?? "gpt-2";
  if (typeof pre !== "string" || !Object.hasOwn(PREPARATIONS, pre)) {
    const known = Object.keys(PREPARATIONS).join(", ");
    throw unsupported(`the tokenizer cuts texts as "${String(pre)}"; ${known} are known`);
  }
  const { pre_tokenizer, normalizer = null, ignore_merges = false, addsBos = false } = PREPARATIONS[pre]!;
  const merges = pairs(strings(metadata, "tokenizer.ggml.merges", MOST_MERGES), ids);
  const decoder = { ...BYTE_LEVEL, use_regex: true };
  return { model: bpe(ids, { merges, ignore_merges }), normalizer, pre_tokenizer, decoder, addsBos };
}

function sentencePiece({ metadata, tokens, ids, types }: Common): Description {
  const scores = numbers(metadata, "tokenizer.ggml.scores", tokens.length);
  if (scores === undefined) throw damaged("tokenizer.ggml.scores is missing");
  const isPiece = (id: number) => types === undefined || types[id] === NORMAL || types[id] === UNUSED;
  const bytes = types !== undefined && Array.prototype.includes.call(types, BYTE);
  const unknown = tokenId(metadata, "tokenizer.ggml.unknown_token_id", tokens.length);
  const unk_token = unknown === undefined ? null : tokens[unknown]!;
  const prefix = metadata["tokenizer.ggml.add_space_prefix"] !== false;
  const mark = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const unmark = { type: "Replace", pattern: { String: "▁" }, content: " " };
  const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
  return {
    model: bpe(ids, { merges: [], unk_token, fuse_unk: true, byte_fallback: bytes }),
    normalizer: { type: "Sequence", normalizers: [...(prefix ? [{ type: "Prepend", prepend: "▁" }] : []), mark] },
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [unmark, { type: "ByteFallback" }, { type: "Fuse" }, ...(prefix ? [strip] : [])],
    },
    addsBos: true,
    ranks: () => mergeRanks(tokens, scores, isPiece),
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

function damaged(what: string): HeadscopeError {
  return new HeadscopeError("corrupt", `the tokenizer in the GGUF file is damaged: ${what}`, {
    remedy: "fetch the file again",
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
  const found = value as Int32Array | Float32Array;
  if (found.length !== length) throw damaged(`${key} has ${found.length} entries for ${length} tokens`);
  return found;
}

function tokenId(metadata: Metadata, key: string, size: number): number | undefined {
  const id = metadata[key];
  if (id === undefined) return undefined;
  if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= size) {
    throw damaged(`${key} is ${String(id)}, and the vocabulary has ${size} tokens`);
  }
  return id;
}

function vocabulary(tokens: readonly string[]): Map<string, number> {
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    const before = ids.get(token);
    if (before !== undefined) throw damaged(`ids ${before} and ${id} are the same token ${JSON.stringify(token)}`);
    ids.set(token, id);
  }
  return ids;
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
