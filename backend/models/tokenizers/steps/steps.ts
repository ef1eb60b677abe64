import { z } from "zod";
import { HeadscopeError } from "../../../common/errors.ts";

/**
 * The steps of tokenizer.json that are followed, with the settings that are: one list. A step, a setting or a value that is not
 * here is refused by name. test/unit/models/tokenizers/steps.test.ts compares each with Rust's tokenizers.
 */

const bool = z.boolean();
const text = z.string();
/** Text that a step puts in: short, since a text may ask for it at each of its characters. */
const inserted = z.string().max(64);
const count = z
  .number()
  .int()
  .min(0)
  .max(2 ** 20);
const char = z.string().refine((value) => [...value].length === 1, "is not one character");

/** Pattern that is looked for in a text. */
const Pattern = z.union([z.strictObject({ String: text.min(1) }), z.strictObject({ Regex: text })]);
export type Pattern = z.infer<typeof Pattern>;

/** Fate of the matches that cut a text. */
const Behavior = z.enum(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]);
export type Behavior = z.infer<typeof Behavior>;

const step = <const Type extends string, Shape extends z.ZodRawShape>(type: Type, shape: Shape) =>
  z.strictObject({ type: z.literal(type), ...shape });

/** Settings of every ByteLevel. */
const BYTES = { add_prefix_space: bool.optional(), trim_offsets: bool.optional(), use_regex: bool.optional() };
/** Settings of every Metaspace, but `split`. */
const SPACES = {
  replacement: char,
  prepend_scheme: z.enum(["always", "first", "never"]).optional(),
  add_prefix_space: bool.optional(),
  str_rep: text.optional(),
};

const NORMALIZERS = [
  step("NFC", {}),
  step("NFD", {}),
  step("NFKC", {}),
  step("NFKD", {}),
  step("Lowercase", {}),
  step("StripAccents", {}),
  step("Nmt", {}),
  step("ByteLevel", {}),
  step("Prepend", { prepend: inserted }),
  step("Strip", { strip_left: bool, strip_right: bool }),
  step("Replace", { pattern: Pattern, content: inserted }),
  step("Precompiled", { precompiled_charsmap: text }),
  step("BertNormalizer", {
    clean_text: bool,
    handle_chinese_chars: bool,
    strip_accents: bool.nullish(),
    lowercase: bool,
  }),
] as const;
/** A step of the normalizer: text to text. */
export type Normalizer = z.infer<(typeof NORMALIZERS)[number]> | { type: "Sequence"; normalizers: Normalizer[] };
/** Schema of the same. */
export const Normalizer: z.ZodType<Normalizer> = z.lazy(() =>
  z.discriminatedUnion("type", [...NORMALIZERS, step("Sequence", { normalizers: z.array(Normalizer) })]),
);

const PRE_TOKENIZERS = [
  step("Whitespace", {}),
  step("WhitespaceSplit", {}),
  step("BertPreTokenizer", {}),
  step("ByteLevel", { ...BYTES, add_prefix_space: bool.default(true), use_regex: bool.default(true) }),
  step("Metaspace", { ...SPACES, split: bool.default(true) }),
  step("Split", { pattern: Pattern, behavior: Behavior, invert: bool }),
  step("Punctuation", { behavior: Behavior.default("Isolated") }),
  step("Digits", { individual_digits: bool.default(false) }),
  step("CharDelimiterSplit", { delimiter: char }),
  step("FixedLength", { length: count.min(1) }),
] as const;
/** A step of the pre-tokenizer: pieces to smaller pieces. */
export type PreTokenizer =
  | z.infer<(typeof PRE_TOKENIZERS)[number]>
  | { type: "Sequence"; pretokenizers: PreTokenizer[] };
/** Schema of the same. */
export const PreTokenizer: z.ZodType<PreTokenizer> = z.lazy(() =>
  z.discriminatedUnion("type", [...PRE_TOKENIZERS, step("Sequence", { pretokenizers: z.array(PreTokenizer) })]),
);

const special = z.tuple([text, count]);
const Item = z.union([
  z.strictObject({ SpecialToken: z.strictObject({ id: text, type_id: z.number() }) }),
  z.strictObject({ Sequence: z.strictObject({ id: z.enum(["A", "B"]), type_id: z.number() }) }),
]);

const POST_PROCESSORS = [
  step("TemplateProcessing", {
    single: z.array(Item),
    pair: z.unknown(),
    special_tokens: z.record(text, z.object({ ids: z.array(count) })),
  }),
  step("BertProcessing", { cls: special, sep: special }),
  step("RobertaProcessing", {
    cls: special,
    sep: special,
    trim_offsets: bool.optional(),
    add_prefix_space: bool.optional(),
  }),
  step("ByteLevel", BYTES),
] as const;
/** A step of the post-processor: what stands around a whole text. */
export type PostProcessor =
  | z.infer<(typeof POST_PROCESSORS)[number]>
  | { type: "Sequence"; processors: PostProcessor[] };
/** Schema of the same. */
export const PostProcessor: z.ZodType<PostProcessor> = z.lazy(() =>
  z.discriminatedUnion("type", [...POST_PROCESSORS, step("Sequence", { processors: z.array(PostProcessor) })]),
);

const DECODERS = [
  step("ByteLevel", BYTES),
  step("WordPiece", { prefix: text, cleanup: bool }),
  step("Metaspace", { ...SPACES, split: bool.optional() }),
  step("BPEDecoder", { suffix: text }),
  step("Replace", { pattern: Pattern, content: inserted }),
  step("Strip", { content: char, start: count, stop: count }),
  step("Fuse", {}),
  step("ByteFallback", {}),
] as const;
/** A step of the decoder: tokens to texts. */
export type Decoder = z.infer<(typeof DECODERS)[number]> | { type: "Sequence"; decoders: Decoder[] };
/** Schema of the same. */
export const Decoder: z.ZodType<Decoder> = z.lazy(() =>
  z.discriminatedUnion("type", [...DECODERS, step("Sequence", { decoders: z.array(Decoder) })]),
);

/** A token that is looked for in texts before anything else is done with them. */
export const AddedToken = z.object({
  id: z.number().int().min(0).optional(),
  content: text,
  single_word: bool.default(false),
  lstrip: bool.default(false),
  rstrip: bool.default(false),
  normalized: bool.optional(),
  special: bool.default(false),
});
export type AddedToken = z.infer<typeof AddedToken>;

const tokenText = text.nullish();
const vocabulary = z.custom<Readonly<Record<string, number>>>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  "is no object of tokens and ids",
);
const list = z.custom<readonly unknown[]>(Array.isArray, "is no list");

/** The model that makes tokens of a piece; the vocabularies' own entries are checked where they are read. */
export const TokenModel = z.discriminatedUnion("type", [
  step("BPE", {
    vocab: vocabulary,
    merges: list,
    dropout: z.literal(0).nullish(),
    unk_token: tokenText,
    continuing_subword_prefix: tokenText,
    end_of_word_suffix: tokenText,
    fuse_unk: bool.default(false),
    byte_fallback: bool.default(false),
    ignore_merges: bool.default(false),
  }),
  step("Unigram", { vocab: list, unk_id: count.nullish(), byte_fallback: bool.default(false) }),
  step("WordPiece", {
    vocab: vocabulary,
    unk_token: text,
    continuing_subword_prefix: text.default("##"),
    max_input_chars_per_word: count.default(100),
  }),
  step("WordLevel", { vocab: vocabulary, unk_token: text }),
]);
export type TokenModel = z.infer<typeof TokenModel>;

/** Sequences of steps within one another. */
const DEEPEST = 8;

/**
 * Takes a part of tokenizer.json by its schema.
 * @param part where it stands, such as pre_tokenizer
 * @throws HeadscopeError "unsupported" naming step, setting and value
 */
export function followed<Schema extends z.ZodType>(schema: Schema, value: unknown, part: string): z.infer<Schema> {
  if (nesting(value) > DEEPEST) throw notFollowed(part, `steps are nested more than ${DEEPEST} deep`);
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const holders: unknown[] = [value];
  for (const key of issue.path) holders.push((holders.at(-1) as Record<PropertyKey, unknown> | undefined)?.[key]);
  const typed = holders.findLast(
    (holder) => typeof (holder as { type?: unknown } | null | undefined)?.type === "string",
  );
  const type = (typed as { type?: string } | undefined)?.type;
  const setting = issue.path.at(-1);
  if (type === undefined || setting === "type")
    throw notFollowed(part, `the step ${shown(type ?? value)} is not known`);
  if (issue.code === "unrecognized_keys") throw notFollowed(part, `${type} has the setting ${shown(issue.keys[0])}`);
  const name = issue.path.filter((key) => typeof key === "string").at(-1);
  throw notFollowed(part, `${type} has ${String(name ?? setting)} ${shown(holders.at(-1))}`);
}

/** The refusal of a tokenizer that would be followed only nearly. @param part where in tokenizer.json @param why what is there */
export function notFollowed(part: string, why: string, cause?: unknown): HeadscopeError {
  return new HeadscopeError("unsupported", `the tokenizer's ${part} cannot be followed exactly: ${why}`, {
    remedy: "give token ids instead of text",
    cause,
  });
}

function shown(value: unknown): string {
  return (typeof value === "string" ? JSON.stringify(value) : Array.isArray(value) ? "a list" : String(value)).slice(
    0,
    80,
  );
}

function nesting(value: unknown): number {
  let depth = 0;
  for (let level: unknown[] = [value]; level.length > 0 && depth <= DEEPEST; depth++)
    level = level.flatMap((step) => {
      const { normalizers, pretokenizers, processors, decoders } = (step ?? {}) as Record<string, unknown>;
      return [normalizers, pretokenizers, processors, decoders].find(Array.isArray) ?? [];
    });
  return depth;
}
