import { HeadscopeError } from "../../../common/errors.ts";
import { LONGEST_TOKEN, MOST_MERGES, MOST_PIECES, MOST_TOKENS } from "../../formats/budgets.ts";
import { damaged } from "../models/token-model.ts";
import { type OwnModel, Pipeline, type TokenizerDocument } from "../pipeline.ts";
import type { Around } from "../steps/post-processors.ts";
import { buildTokenizer, built, type Tokenizer } from "../tokenizer.ts";
import { type TokenizerClass, tokenizerClass } from "./classes.ts";

type Json = Readonly<Record<string, unknown>>;

/** The files that describe a folder's tokenizer beside its pipeline, parsed. */
export interface TokenizerSettings {
  /** tokenizer_config.json, with the chat template of a file of its own */
  readonly config?: Json;
  /** special_tokens_map.json */
  readonly specialTokensMap?: Json | undefined;
  /** added_tokens.json */
  readonly addedTokens?: Json | undefined;
  /** `model_type` of config.json */
  readonly modelType?: unknown;
}

/** Names that special tokens have in every tokenizer (transformers' SPECIAL_TOKENS_ATTRIBUTES). */
const NAMED = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] as const;

/**
 * The tokenizer of a Hugging Face folder with tokenizer.json, as AutoTokenizer of transformers 5 has it.
 * @param tokenizerJson parsed tokenizer.json
 * @param tokenizerConfig parsed tokenizer_config.json (special tokens, chat template); {} without one
 * @param files the other files
 * @throws HeadscopeError "unsupported" naming a step or setting that is not followed exactly, "corrupt" for a damaged one
 */
export function tokenizerFromJson(
  tokenizerJson: object,
  tokenizerConfig: Json,
  files: Omit<TokenizerSettings, "config"> = {},
): Tokenizer {
  return folderTokenizer(tokenizerJson, { ...files, config: tokenizerConfig });
}

/** Refuses a tokenizer.json that is small and would be large, such as by the highest of its ids. */
function checkBudgets({ model, added_tokens: added, ...pipeline }: TokenizerDocument): void {
  if (objectsIn(pipeline) > MOST_PIECES) throw tooLarge(`has a pipeline of more than ${MOST_PIECES} pieces`);
  const { vocab = {}, merges = [] } = (model ?? {}) as { vocab?: unknown; merges?: unknown };
  // A Unigram model has a list of pairs of token and score.
  const pairs: [unknown, unknown][] = Array.isArray(vocab)
    ? vocab.map((pair, id) => [(pair as unknown[] | null)?.[0], id])
    : Object.entries(vocab as object);
  if (Array.isArray(added))
    for (const token of added as ({ content?: unknown; id?: unknown } | null)[])
      pairs.push([token?.content, token?.id]);
  if (pairs.length > MOST_TOKENS) throw tooLarge(`has ${pairs.length} tokens; ${MOST_TOKENS} are the most`);
  for (const [token, id] of pairs) {
    if (typeof token !== "string" || token.length > LONGEST_TOKEN)
      throw tooLarge(`has a token that is no text of at most ${LONGEST_TOKEN} characters`);
    if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) >= MOST_TOKENS)
      throw tooLarge(`has the id ${String(id).slice(0, 40)}; ids go from 0 to ${MOST_TOKENS - 1}`);
  }
  if (Array.isArray(merges) && merges.length > MOST_MERGES)
    throw tooLarge(`has ${merges.length} merges; ${MOST_MERGES} are the most`);
}

function objectsIn(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  return Object.values(value).reduce((sum: number, part) => sum + objectsIn(part), 1);
}

function tooLarge(what: string): HeadscopeError {
  return new HeadscopeError("corrupt", `tokenizer.json ${what}`, { remedy: "fetch the model again" });
}

/** Recipe of a folder's tokenizer from files other than tokenizer.json. */
export interface OtherFiles {
  readonly own?: OwnModel;
  /** Special tokens where no file names any. */
  readonly tokens?: Readonly<Record<string, string>>;
}

/**
 * A folder's tokenizer from a document of steps and the settings beside it.
 * @param other given where the document is not tokenizer.json: add_bos_token and add_eos_token count then, which transformers 5
 *   does not ask beside a tokenizer.json
 */
export function folderTokenizer(
  document: TokenizerDocument,
  settings: TokenizerSettings,
  other?: OtherFiles,
): Tokenizer {
  if (other === undefined) checkBudgets(document);
  const config = settings.config ?? {};
  const tokenizerKind = tokenizerClass(config["tokenizer_class"], settings.modelType);
  const special = new SpecialTokens(document, settings, defaultTokens(document, tokenizerKind, other));
  const added_tokens = [...special.inFile, ...special.added];
  let steps: TokenizerDocument = { ...document, added_tokens };
  if (other === undefined) steps = withPrefixSpace(steps, config, tokenizerKind);
  const pipeline = built(() => new Pipeline(steps, other?.own));
  const id = (name: string) => (special.named[name] === undefined ? undefined : pipeline.id(special.named[name]));
  const [bos, eos] = [id("bos_token"), id("eos_token")];
  return buildTokenizer(() => pipeline, pipeline.size, {
    bos,
    eos,
    ...(other === undefined ? pipeline.around : byFlags(config, bos, eos)),
    chatTemplate: templateOf(config["chat_template"]),
    specialTokens: special.named,
    notes: [],
  });
}

/**
 * Special tokens where no file names any: the class's, or the model's own. Those that the vocabulary lacks are left out;
 * transformers makes ids for them, for which models have no rows.
 */
function defaultTokens(
  document: TokenizerDocument,
  tokenizerKind?: TokenizerClass,
  other?: OtherFiles,
): Record<string, string> {
  const vocab = (document.model as { vocab?: object } | null | undefined)?.vocab ?? {};
  const added = Array.isArray(document.added_tokens) ? document.added_tokens.flatMap(asAdded) : [];
  const contents = new Set(added.map(({ content }) => content));
  const has = (token: string) =>
    other?.own?.vocabulary.ids.has(token) || contents.has(token) || Object.hasOwn(vocab, token);
  return Object.fromEntries(
    Object.entries({ ...tokenizerKind?.tokens, ...other?.tokens }).filter(([, token]) => has(token)),
  );
}

function byFlags(config: Json, bos: number | undefined, eos: number | undefined): Around {
  const one = (flag: string, id: number | undefined) => (config[flag] === true && id !== undefined ? [id] : []);
  return { front: one("add_bos_token", bos), behind: one("add_eos_token", eos) };
}

/** The default of several named templates, or the only one. */
function templateOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  const named = Array.isArray(value)
    ? (value as ({ name?: unknown; template?: unknown } | null)[]).filter(
        (entry) => typeof entry?.template === "string",
      )
    : [];
  const template = named.find((entry) => entry?.name === "default") ?? named[0];
  return template?.template as string | undefined;
}

/** An added token in any of the files: its text, or an object that holds it. */
type Added = { readonly content: string } & Json;

/** The special and added tokens that the files around tokenizer.json name, in the order in which transformers 5 adds them. */
class SpecialTokens {
  /** Texts of special tokens by name, such as bos_token. */
  readonly named: Readonly<Record<string, string>>;
  readonly inFile: readonly unknown[];
  /** To be added behind those of the file; one that is there already takes the new settings. */
  readonly added: readonly Added[];

  constructor(
    document: TokenizerDocument,
    { config = {}, specialTokensMap, addedTokens }: TokenizerSettings,
    defaults: Readonly<Record<string, string>>,
  ) {
    this.inFile = Array.isArray(document.added_tokens) ? document.added_tokens : [];
    const inConfig = decoderTokens(config["added_tokens_decoder"]);
    // Newer configs hold everything; with older ones the other files count, and before the config.
    const values: Json =
      config["added_tokens_decoder"] === undefined ? { ...config, ...without(specialTokensMap ?? {}) } : config;
    const all = [...(inConfig ?? fromFile(addedTokens)), ...(inConfig ? [] : this.inFile.flatMap(asAdded))];
    const settingsOf = new Map(all.map((token) => [token.content, token]));
    const named: Record<string, string> = {};
    const special: Added[] = [];
    const take = (value: unknown, name?: string): void => {
      for (const token of asAdded(value)) {
        if (name !== undefined) named[name] = token.content;
        const isNamed = name !== undefined && NAMED.includes(name as never);
        const settings = (isNamed ? settingsOf.get(token.content) : undefined) ?? token;
        special.push({ ...settings, special: true, normalized: settings["normalized"] ?? false });
      }
    };
    for (const name of NAMED) take(values[name] === undefined ? defaults[name] : values[name], name);
    for (const [name, value] of Object.entries(values))
      if (name.endsWith("_token") && !NAMED.includes(name as never)) take(value, name);
    const extra = emptied(values["extra_special_tokens"]) ?? values["additional_special_tokens"];
    if (Array.isArray(extra)) for (const value of extra) take(value);
    else if (typeof extra === "object" && extra !== null)
      for (const [name, value] of Object.entries(extra)) take(value, name);
    this.named = named;
    this.added = [...(inConfig ?? fromFile(addedTokens)), ...special];
  }
}

/** A list or object that holds nothing counts as none. */
function emptied(value: unknown): unknown {
  return typeof value === "object" && value !== null && Object.keys(value).length > 0 ? value : undefined;
}

/** Entries that say something: null in special_tokens_map.json names no token. */
function without(map: Json): Json {
  return Object.fromEntries(Object.entries(map).filter(([, value]) => value !== null));
}

function asAdded(value: unknown): Added[] {
  if (typeof value === "string") return [{ content: value }];
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? [{ ...(value as Json), content }] : [];
}

function decoderTokens(value: unknown): Added[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "object") throw damaged("added_tokens_decoder of tokenizer_config.json is no object");
  return Object.entries(value)
    .sort(([a], [b]) => Number(a) - Number(b))
    .flatMap(([, token]) => asAdded(token));
}

function fromFile(addedTokens: Json | undefined): Added[] {
  return Object.entries(addedTokens ?? {})
    .sort(([, a], [, b]) => Number(a) - Number(b))
    .map(([content]) => ({ content, special: false, normalized: true }));
}

/** The steps with the setting add_prefix_space of tokenizer_config.json, where the class applies it. */
function withPrefixSpace(
  document: TokenizerDocument,
  config: Json,
  tokenizerKind: TokenizerClass | undefined,
): TokenizerDocument {
  if (tokenizerKind?.setsPrefixSpace !== true) return document;
  const add_prefix_space = config["add_prefix_space"] === true;
  const changed = (step: unknown): unknown =>
    (step as Json | null | undefined)?.["type"] === "ByteLevel" ? { ...(step as Json), add_prefix_space } : step;
  const step = document.pre_tokenizer as { pretokenizers?: unknown } | null | undefined;
  if (Array.isArray(step?.pretokenizers))
    return { ...document, pre_tokenizer: { ...step, pretokenizers: step.pretokenizers.map(changed) } };
  return { ...document, pre_tokenizer: changed(step) };
}
