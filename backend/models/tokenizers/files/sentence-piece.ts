import protobuf from "protobufjs/light.js";
import { HeadscopeError } from "../../../common/errors.ts";
import { LONGEST_SENTENCE_PIECE, LONGEST_TOKEN, MOST_TOKENS } from "../../formats/budgets.ts";
import { openBytes } from "../../formats/bytes.ts";
import { Trie } from "../models/pair-table.ts";
import { SentencePieceBpe } from "../models/sentence-piece.ts";
import { damaged, type TokenIds, Vocabulary } from "../models/token-model.ts";
import { Unigram } from "../models/unigram.ts";
import type { Normalize } from "../steps/normalizers.ts";
import { Charsmap } from "../steps/precompiled.ts";
import { notFollowed } from "../steps/steps.ts";
import { utf8 } from "../text/bytes.ts";
import type { Tokenizer } from "../tokenizer.ts";
import { sentencePieceDecoder } from "./classes.ts";
import { folderTokenizer, type TokenizerSettings } from "./json.ts";

/** Fields that are read of sentencepiece_model.proto (proto2: a field that is false or 0 is not one that is absent). */
const schema = protobuf.Root.fromJSON({
  nested: {
    Model: {
      fields: {
        pieces: { rule: "repeated", type: "Piece", id: 1 },
        trainer: { type: "Trainer", id: 2 },
        normalizer: { type: "Normalizer", id: 3 },
      },
    },
    Piece: {
      edition: "proto2",
      fields: {
        piece: { type: "string", id: 1 },
        score: { type: "float", id: 2 },
        type: { type: "int32", id: 3, options: { default: 1 } },
      },
    },
    Trainer: {
      edition: "proto2",
      fields: {
        modelType: { type: "int32", id: 3, options: { default: 1 } },
        whitespaceAsSuffix: { type: "bool", id: 24 },
        byteFallback: { type: "bool", id: 35 },
        bosId: { type: "int32", id: 41, options: { default: 1 } },
        eosId: { type: "int32", id: 42, options: { default: 2 } },
        padId: { type: "int32", id: 43, options: { default: -1 } },
      },
    },
    Normalizer: {
      edition: "proto2",
      fields: {
        charsmap: { type: "bytes", id: 2 },
        dummyPrefix: { type: "bool", id: 3, options: { default: true } },
        removeExtraWhitespace: { type: "bool", id: 4, options: { default: true } },
        escapeWhitespace: { type: "bool", id: 5, options: { default: true } },
      },
    },
  },
});

interface NormalizerSpec {
  readonly charsmap: Uint8Array;
  readonly dummyPrefix: boolean;
  readonly removeExtraWhitespace: boolean;
  readonly escapeWhitespace: boolean;
}

interface ModelProto {
  readonly pieces: readonly { readonly piece: string; readonly score: number; readonly type: number }[];
  readonly trainer: {
    readonly modelType: number;
    readonly whitespaceAsSuffix: boolean;
    readonly byteFallback: boolean;
    readonly bosId: number;
    readonly eosId: number;
    readonly padId: number;
  };
  readonly normalizer: NormalizerSpec;
}

/** Types of pieces, and of models. */
const [NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED] = [1, 2, 3, 4, 5] as const;
const [UNIGRAM, BPE] = [1, 2] as const;

/**
 * The tokenizer of a folder that has a SentencePiece model (BPE or unigram), as sentencepiece itself encodes; control tokens
 * written out in a text become their ids, as in transformers.
 * @param path of tokenizer.model
 * @throws HeadscopeError "corrupt" for what is no SentencePiece model, "unsupported" for one of words or characters
 */
export async function tokenizerFromSentencePiece(path: string, settings: TokenizerSettings): Promise<Tokenizer> {
  const { pieces, trainer, normalizer } = await readModel(path);
  const tokens = pieces.map(({ piece }) => piece);
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const of = (...types: readonly number[]) => [...tokens.keys()].filter((id) => types.includes(pieces[id]!.type));
  const userDefined = new Trie(of(USER_DEFINED).map((id) => [tokens[id]!, id] as const));
  const special = [...of(CONTROL, UNKNOWN)].map((id) => ({ content: tokens[id], special: true, normalized: false }));
  const suffix = trainer.whitespaceAsSuffix && normalizer.dummyPrefix;
  const document = {
    added_tokens: special,
    decoder: sentencePieceDecoder(normalizer.dummyPrefix && !suffix),
  };
  const named = {
    bos_token: trainer.bosId,
    eos_token: trainer.eosId,
    pad_token: trainer.padId,
    unk_token: of(UNKNOWN)[0],
  };
  return folderTokenizer(document, settings, {
    own: {
      vocabulary: new Vocabulary(ids, tokens),
      model: modelOf({ pieces, trainer, tokens, ids, userDefined }),
      normalize: normalizerOf(normalizer, userDefined, suffix),
    },
    tokens: Object.fromEntries(
      Object.entries(named).flatMap(([name, id]) =>
        id === undefined || tokens[id] === undefined ? [] : [[name, tokens[id]]],
      ),
    ),
  });
}

async function readModel(path: string): Promise<ModelProto> {
  const source = await openBytes(path);
  try {
    if (source.size > LONGEST_SENTENCE_PIECE)
      throw damaged(`tokenizer.model has ${source.size} bytes; ${LONGEST_SENTENCE_PIECE} are the most`);
    const bytes = await source.read(0, source.size);
    let model: ModelProto;
    try {
      const type = schema.lookupType("Model");
      const decoded = type.decode(bytes);
      model = type.toObject(decoded, { defaults: true, arrays: true }) as unknown as ModelProto;
    } catch (cause) {
      throw damaged(`tokenizer.model is no SentencePiece model (${(cause as Error).message.slice(0, 80)})`);
    }
    if (model.pieces.length === 0) throw damaged("tokenizer.model is no SentencePiece model (it holds no pieces)");
    if (model.pieces.length > MOST_TOKENS || model.pieces.some(({ piece }) => piece.length > LONGEST_TOKEN))
      throw damaged(
        `tokenizer.model has more than ${MOST_TOKENS} pieces, or one of more than ${LONGEST_TOKEN} characters`,
      );
    const defaults = (name: string, value: unknown) =>
      schema.lookupType(name).toObject(schema.lookupType(name).fromObject((value ?? {}) as object), { defaults: true });
    return {
      pieces: model.pieces,
      trainer: defaults("Trainer", model.trainer) as ModelProto["trainer"],
      normalizer: defaults("Normalizer", model.normalizer) as unknown as NormalizerSpec,
    };
  } finally {
    await source.close();
  }
}

interface Contents extends Pick<ModelProto, "pieces" | "trainer"> {
  readonly tokens: readonly string[];
  readonly ids: ReadonlyMap<string, number>;
  readonly userDefined: Trie;
}

function modelOf({ pieces, trainer, tokens, ids, userDefined }: Contents): TokenIds {
  const typeOf = (id: number) => pieces[id]!.type;
  const unknown = pieces.findIndex(({ type }) => type === UNKNOWN);
  if (unknown < 0) throw damaged("tokenizer.model has no unknown token");
  const { byteFallback } = trainer;
  if (trainer.modelType === BPE) {
    const isPiece = (id: number) => typeOf(id) === NORMAL || typeOf(id) === USER_DEFINED || typeOf(id) === UNUSED;
    const isUnused = (id: number) => typeOf(id) === UNUSED;
    const scores = pieces.map(({ score }) => score);
    return new SentencePieceBpe({ tokens, ids, scores, isPiece, isUnused, unknown, byteFallback, userDefined });
  }
  if (trainer.modelType !== UNIGRAM)
    throw new HeadscopeError("unsupported", "tokenizer.model is a SentencePiece model of words or characters", {
      remedy: "give token ids instead of text",
    });
  if (pieces.some(({ type }) => type === USER_DEFINED))
    throw notFollowed("tokenizer.model", "it is a unigram model with user-defined pieces");
  const scores = pieces.map(({ score }) => score);
  const left_out = (id: number) => typeOf(id) !== NORMAL;
  return new Unigram(tokens, scores, { unknown, byteFallback, left_out, single: true });
}

/** SentencePiece's own normalizer: its table by the longest beginning, then white space (Normalizer::Normalize). */
function normalizerOf(spec: NormalizerSpec, userDefined: Trie, suffix: boolean): Normalize {
  const map = spec.charsmap.length > 0 ? new Charsmap(spec.charsmap) : undefined;
  const space = spec.escapeWhitespace ? "▁" : " ";
  return (text) => {
    let result = spec.dummyPrefix && !suffix ? space : "";
    // White space at the beginning goes with that behind another.
    let afterSpace = spec.removeExtraWhitespace;
    let blank = true;
    for (const part of prefixes(text, map, userDefined)) {
      if (blank && spec.removeExtraWhitespace && part === " ") continue;
      blank = false;
      const text = afterSpace ? part.replace(/^ +/, "") : part;
      result += text.replaceAll(" ", space);
      if (text !== "") afterSpace = spec.removeExtraWhitespace && text.endsWith(" ");
    }
    if (blank) return "";
    let end = result.length;
    if (spec.removeExtraWhitespace) while (result[end - 1] === space) end--;
    return result.slice(0, end) + (suffix ? space : "");
  };
}

/** A text in the parts that the table replaces as a whole, each as it is replaced. */
function* prefixes(text: string, map: Charsmap | undefined, userDefined: Trie): Generator<string> {
  for (let at = 0; at < text.length; ) {
    const own = userDefined.longest(text, at);
    const char = String.fromCodePoint(text.codePointAt(at)!);
    let length = own.value >= 0 ? own.end - at : char.length;
    let part = text.slice(at, at + length);
    const match = own.value >= 0 ? undefined : map?.lookUp(utf8(text.slice(at, at + REACH)), true);
    if (match !== undefined) {
      length = unitsOf(text, at, match.length);
      part = match.text;
    }
    yield part;
    at += length;
  }
}

/** Most UTF-16 units that an entry of a table spans; those of nmt_nfkc_cf have at most a handful of characters. */
const REACH = 32;

/** UTF-16 units of a number of bytes. */
function unitsOf(text: string, start: number, bytes: number): number {
  let at = start;
  for (let left = bytes; left > 0 && at < text.length; ) {
    const char = String.fromCodePoint(text.codePointAt(at)!);
    left -= utf8(char).length;
    at += char.length;
  }
  return at - start;
}
