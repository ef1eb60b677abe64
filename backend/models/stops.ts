import { dirname } from "node:path";
import { HeadscopeError } from "../common/errors.ts";
import type { ModelConfig } from "./config.ts";
import type { Checkpoint } from "./formats/checkpoint.ts";
import { readJsonObject } from "./formats/json-file.ts";
import { fileBeside } from "./formats/model-folder.ts";
import type { Tokenizer } from "./tokenizers/tokenizer.ts";

/** A token that ends what the model writes. */
export interface StopToken {
  readonly id: number;
  /** Who says so: "generation_config.json", "config.json", "tokenizer", or GGUF's "eos", "eot", "eom". */
  readonly sources: readonly string[];
}

/** A text that ends what the model writes, however it comes apart into tokens. */
export interface StopText {
  readonly text: string;
  readonly sources: readonly string[];
}

/** The tokens and texts at which a model's own files end a generation. */
export interface Stops {
  /** In ascending order of their ids, each once. */
  readonly tokens: readonly StopToken[];
  /** In the order of the file, each once; none where no tokenizer turns tokens into text. */
  readonly texts: readonly StopText[];
  /** Of what the files say and cannot be followed, a sentence each. */
  readonly notes: readonly string[];
}

/** The stops of a model whose files name none. */
export const NO_STOPS: Stops = { tokens: [], texts: [], notes: [] };

/** A field that names end tokens: a number, a list of numbers, or nothing. */
interface Field {
  readonly source: string;
  /** For notes, such as "config.json's eos_token_id". */
  readonly name: string;
  readonly value: unknown;
}

const GENERATION_CONFIG = "generation_config.json";

/** Most stop texts that are followed, and most characters of one: each is looked for at every new token. */
const MOST_TEXTS = 64;
const LONGEST_TEXT = 1_000;

/** GGUF's fields that end a turn: of the text, of the turn, of the message. */
const GGUF_FIELDS: readonly (readonly [source: string, key: string])[] = [
  ["eos", "tokenizer.ggml.eos_token_id"],
  ["eos", "tokenizer.ggml.eos_token_ids"],
  ["eot", "tokenizer.ggml.eot_token_id"],
  ["eom", "tokenizer.ggml.eom_token_id"],
];

/**
 * Reads where a model ends what it writes: the union of what generation_config.json (tokens and texts), config.json, the
 * tokenizer and GGUF's metadata name. A field or a file that cannot be followed is a note, since the model works without it.
 */
export async function stopsOf(
  checkpoint: Checkpoint,
  { d_vocab }: Pick<ModelConfig, "d_vocab">,
  tokenizer: Pick<Tokenizer, "eos"> | undefined,
): Promise<Stops> {
  const notes: string[] = [];
  const generation = checkpoint.format === "gguf" ? undefined : await generationConfig(checkpoint.path, notes);
  const tokens = new Map<number, Set<string>>();
  for (const field of fieldsOf(checkpoint, tokenizer, generation)) {
    for (const id of idsIn(field, d_vocab, notes)) tokens.set(id, (tokens.get(id) ?? new Set()).add(field.source));
  }
  const inOrder = [...tokens].sort(([a], [b]) => a - b);
  return {
    tokens: inOrder.map(([id, sources]) => ({ id, sources: [...sources] })),
    texts: textsIn(generation?.["stop_strings"], tokenizer !== undefined, notes),
    notes,
  };
}

function fieldsOf(
  checkpoint: Checkpoint,
  tokenizer: Pick<Tokenizer, "eos"> | undefined,
  generation: Record<string, unknown> | undefined,
): Field[] {
  const tokenizerField = { source: "tokenizer", name: "the tokenizer's end token", value: tokenizer?.eos };
  const { metadata } = checkpoint;
  if (checkpoint.format === "gguf")
    return [tokenizerField, ...GGUF_FIELDS.map(([source, key]) => ({ source, name: key, value: metadata[key] }))];
  const files = [
    { source: "config.json", values: metadata["config"] as Record<string, unknown> | undefined },
    { source: GENERATION_CONFIG, values: generation },
  ];
  const named = files.map(({ source, values }) => {
    return { source, name: `${source}'s eos_token_id`, value: values?.["eos_token_id"] };
  });
  return [tokenizerField, ...named];
}

async function generationConfig(path: string, notes: string[]): Promise<Record<string, unknown> | undefined> {
  try {
    const file = await fileBeside(dirname(path), GENERATION_CONFIG);
    return file === undefined ? undefined : await readJsonObject(file);
  } catch (error) {
    if (!(error instanceof HeadscopeError)) throw error;
    notes.push(`${GENERATION_CONFIG} is left out: ${error.message}`);
    return undefined;
  }
}

/** The ids of a field that are tokens of the model. */
function idsIn({ name, value }: Field, d_vocab: number, notes: string[]): number[] {
  if (value === undefined || value === null) return [];
  const listed: unknown[] = Array.isArray(value) || ArrayBuffer.isView(value) ? [...(value as number[])] : [value];
  const isToken = (id: unknown): id is number =>
    Number.isInteger(id) && (id as number) >= 0 && (id as number) < d_vocab;
  const others = listed.filter((id) => !isToken(id));
  if (others.length > 0) notes.push(`${name} names ${few(others)}, and ids go from 0 to ${d_vocab - 1}: ignored`);
  return listed.filter(isToken);
}

/** The stop texts of generation_config.json: one text or a list, as transformers takes them. */
function textsIn(value: unknown, readable: boolean, notes: string[]): StopText[] {
  if (value === undefined || value === null) return [];
  const name = `${GENERATION_CONFIG}'s stop_strings`;
  const listed: unknown[] = Array.isArray(value) ? value : [value];
  const isText = (text: unknown): text is string =>
    typeof text === "string" && text !== "" && text.length <= LONGEST_TEXT;
  const others = listed.filter((text) => !isText(text));
  if (others.length > 0)
    notes.push(`${name} names ${few(others)}, and a stop is a text of 1 to ${LONGEST_TEXT} characters: ignored`);
  const texts = [...new Set(listed.filter(isText))];
  if (texts.length > 0 && !readable) {
    notes.push(`${name} names ${few(texts)}, and without a tokenizer there is no text to find them in: ignored`);
    return [];
  }
  if (texts.length > MOST_TEXTS)
    notes.push(`${name} names ${texts.length} texts: those after the first ${MOST_TEXTS} are ignored`);
  return texts.slice(0, MOST_TEXTS).map((text) => ({ text, sources: [GENERATION_CONFIG] }));
}

/** The first of some values, short, for notes. */
function few(values: readonly unknown[]): string {
  const texts = values.slice(0, 4).map((value) => String(JSON.stringify(value) ?? value).slice(0, 40));
  return texts.join(", ");
}
