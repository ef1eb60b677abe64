import { LONGEST_TOKEN } from "../formats/budgets.ts";
import { Bpe } from "./models/bpe.ts";
import { damaged, type TokenIds, type Vocabulary, vocabularyOf } from "./models/token-model.ts";
import { Unigram } from "./models/unigram.ts";
import { WordLevel, WordPiece } from "./models/words.ts";
import { AddedTokens } from "./steps/added-tokens.ts";
import { decoder as buildDecoder, type Decode } from "./steps/decoders.ts";
import { normalizer as buildNormalizer, type Normalize } from "./steps/normalizers.ts";
import { type Around, around } from "./steps/post-processors.ts";
import { preTokenizer as buildPreTokenizer, looksAtStart, type PreTokenize } from "./steps/pre-tokenizers.ts";
import * as steps from "./steps/steps.ts";

/** Content of tokenizer.json, or of another format in its terms. */
export interface TokenizerDocument {
  readonly added_tokens?: unknown;
  readonly normalizer?: unknown;
  readonly pre_tokenizer?: unknown;
  readonly post_processor?: unknown;
  readonly decoder?: unknown;
  readonly model?: unknown;
}

/** A model that is no model of tokenizer.json, in place of one. */
export interface OwnModel {
  readonly vocabulary: Vocabulary;
  readonly model: TokenIds;
  /** A normalizer that is none of tokenizer.json either. */
  readonly normalize?: Normalize;
}

/** Text to ids and back through the steps of a tokenizer.json, to the id of Rust's tokenizers. */
export class Pipeline {
  /** Tokens that its post-processor puts around a whole text. */
  readonly around: Around;
  /** True when the text of a token depends on its being the first one. */
  readonly firstDiffers: boolean;
  /** True when tokens add text behind that of whole characters before them, and change nothing of it. */
  readonly grows: boolean;
  /** True when its decoder uses regular expressions of the file, which may never end. */
  readonly decodesByPattern: boolean;
  readonly #normalize: Normalize;
  readonly #cut: PreTokenize | undefined;
  readonly #model: TokenIds;
  readonly #vocabulary: Vocabulary;
  readonly #added: AddedTokens;
  readonly #decode: Decode | undefined;

  /**
   * @param document its steps are checked against the list of known ones
   * @param own model in place of the document's
   * @throws HeadscopeError "unsupported" naming a step or setting that is not followed, "corrupt" for a damaged vocabulary
   */
  constructor(document: TokenizerDocument, own?: OwnModel) {
    const part = <Schema extends Parameters<typeof steps.followed>[0]>(
      schema: Schema,
      name: keyof TokenizerDocument,
    ) => {
      const value = document[name];
      return value === undefined || value === null ? undefined : steps.followed(schema, value, name);
    };
    const normalizer = part(steps.Normalizer, "normalizer") as steps.Normalizer | undefined;
    const preTokenizer = part(steps.PreTokenizer, "pre_tokenizer") as steps.PreTokenizer | undefined;
    const decoder = part(steps.Decoder, "decoder") as steps.Decoder | undefined;
    const processor = part(steps.PostProcessor, "post_processor") as steps.PostProcessor | undefined;
    if (normalizer && preTokenizer && looksAtStart(preTokenizer) && shortens(normalizer))
      throw steps.notFollowed(
        "pre_tokenizer",
        'Metaspace has prepend_scheme "first" behind a normalizer that removes characters',
      );
    this.#normalize = own?.normalize ?? (normalizer ? buildNormalizer(normalizer) : (text) => text);
    this.#cut = preTokenizer && buildPreTokenizer(preTokenizer);
    this.#decode = decoder && buildDecoder(decoder);
    this.around = around(processor ?? null);
    this.firstDiffers = decoder === undefined || firstDiffers(decoder);
    this.grows = decoder !== undefined && grows(decoder);
    this.decodesByPattern = JSON.stringify(decoder ?? null).includes('"Regex"');
    const { vocabulary, model } = own ?? modelOf(document.model);
    this.#vocabulary = vocabulary;
    this.#model = model;
    this.#added = new AddedTokens(addedTokens(document.added_tokens), vocabulary, this.#normalize);
  }

  /** Number of tokens, added ones included. */
  get size(): number {
    return (
      [...this.#added.ids].filter((id) => this.#vocabulary.token(id) === undefined).length + this.#vocabulary.ids.size
    );
  }

  /** Id of a token as the vocabulary writes it. */
  id(token: string): number | undefined {
    return this.#added.id(token) ?? this.#vocabulary.ids.get(token);
  }

  /** Token of an id as the vocabulary writes it. */
  token(id: number): string | undefined {
    return this.#added.content(id) ?? this.#vocabulary.token(id);
  }

  /** Ids of a text, with nothing around it. Halves of surrogate pairs count as U+FFFD. */
  encode(text: string): number[] {
    const ids: number[] = [];
    for (const section of this.#added.inWritten(text.replace(/\p{Surrogate}/gu, "\ufffd"))) {
      if (section.id !== undefined) {
        ids.push(section.id);
        continue;
      }
      for (const part of this.#added.inNormalised(this.#normalize(section.text))) {
        if (part.id !== undefined) ids.push(part.id);
        else this.#pieces(part.text, section.start === 0 && part.start === 0, ids);
      }
    }
    return ids;
  }

  #pieces(text: string, first: boolean, ids: number[]): void {
    for (const piece of this.#cut ? this.#cut([text], first) : [text]) this.#model.encode(piece, ids);
  }

  /** Text of ids; ids that are no tokens have none. @param skipSpecial special tokens have none either */
  decode(ids: readonly number[], skipSpecial: boolean): string {
    const tokens = ids.flatMap((id) => {
      const token = skipSpecial && this.#added.isSpecial(id) ? undefined : this.token(id);
      return token === undefined ? [] : [token];
    });
    return this.#decode ? this.#decode(tokens).join("") : tokens.join(" ");
  }
}

function addedTokens(value: unknown): steps.AddedToken[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw damaged("its added_tokens are no list");
  return value.map((token) => {
    const result = steps.AddedToken.safeParse(token);
    if (result.success) return result.data;
    throw damaged(`an added token has ${result.error.issues[0]!.path.join(".")} of another type`);
  });
}

/** Tells whether a normalizer may take characters away from the beginning of a text. */
function shortens(step: steps.Normalizer): boolean {
  if (step.type === "Sequence") return step.normalizers.some(shortens);
  if (step.type === "Replace") return step.content === "";
  return ["Strip", "StripAccents", "Nmt", "BertNormalizer", "Precompiled"].includes(step.type);
}

function firstDiffers(step: steps.Decoder): boolean {
  if (step.type === "Sequence") return step.decoders.some(firstDiffers);
  return (
    step.type === "WordPiece" ||
    step.type === "BPEDecoder" ||
    (step.type === "Strip" && step.start > 0) ||
    (step.type === "Metaspace" && step.prepend_scheme !== "never")
  );
}

/** Tells whether the text of some tokens is the beginning of the text of those and more. */
function grows(decoder: steps.Decoder): boolean {
  let joined = false;
  for (const step of decoderSteps(decoder)) {
    // Behind the joining a step sees the whole text: only its beginning may be another.
    const fits = joined
      ? step.type === "Fuse" || (step.type === "Strip" && step.stop === 0)
      : step.type !== "BPEDecoder";
    if (!fits) return false;
    joined ||= step.type === "Fuse" || step.type === "ByteLevel";
  }
  return true;
}

function decoderSteps(step: steps.Decoder): steps.Decoder[] {
  return step.type === "Sequence" ? step.decoders.flatMap(decoderSteps) : [step];
}

/** Files before 2022 leave the model's type to be known by its fields. */
function typed(model: unknown): unknown {
  if (typeof model !== "object" || model === null || "type" in model) return model;
  const type =
    "merges" in model
      ? "BPE"
      : Array.isArray((model as { vocab?: unknown }).vocab)
        ? "Unigram"
        : "max_input_chars_per_word" in model
          ? "WordPiece"
          : "WordLevel";
  return { type, ...model };
}

function modelOf(value: unknown): OwnModel {
  const model = steps.followed(steps.TokenModel, typed(value), "model");
  if (model.type === "Unigram") return unigram(model);
  const vocabulary = vocabularyOf(model.vocab);
  if (model.type === "BPE") return { vocabulary, model: new Bpe(vocabulary, model.merges, model) };
  const { unk_token: unknown } = model;
  if (model.type === "WordLevel") return { vocabulary, model: new WordLevel(vocabulary, unknown) };
  const { continuing_subword_prefix: prefix, max_input_chars_per_word: longest } = model;
  return { vocabulary, model: new WordPiece(vocabulary, { unknown, prefix, longest }) };
}

function unigram({ vocab, unk_id, byte_fallback }: Extract<steps.TokenModel, { type: "Unigram" }>): OwnModel {
  const tokens: string[] = [];
  const scores: number[] = [];
  for (const entry of vocab) {
    const [token, score] = Array.isArray(entry) ? (entry as unknown[]) : [];
    if (typeof token !== "string" || typeof score !== "number")
      throw damaged(`entry ${tokens.length} of its vocabulary is no pair of token and score`);
    if (token.length > LONGEST_TOKEN)
      throw damaged(`a token has ${token.length} characters; ${LONGEST_TOKEN} are the most`);
    tokens.push(token);
    scores.push(score);
  }
  if (tokens.length === 0) throw damaged("its vocabulary is empty");
  if (typeof unk_id === "number" && unk_id >= tokens.length)
    throw damaged(`unk_id is ${unk_id}, and its vocabulary has ${tokens.length} tokens`);
  const model = new Unigram(tokens, scores, { unknown: unk_id ?? undefined, byteFallback: byte_fallback });
  return { vocabulary: model.vocabulary, model };
}
