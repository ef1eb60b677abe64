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

/** The tokens at which a model's own files end a generation. */
export interface Stops {
  /** In ascending order of their ids, each once. */
  readonly tokens: readonly StopToken[];
  /** Of what the files say and cannot be followed, a sentence each. */
  readonly notes: readonly string[];
}

/** The stops of a model whose files name none. */
export const NO_STOPS: Stops = { tokens: [], notes: [] };

/** A field that names end tokens: a number, a list of numbers, or nothing. */
interface Field {
  readonly source: string;
  /** For notes, such as "config.json's eos_token_id". */
  readonly name: string;
  readonly value: unknown;
}

/** GGUF's fields that end a turn: of the text, of the turn, of the message. */
const GGUF_FIELDS: readonly (readonly [source: string, key: string])[] = [
  ["eos", "tokenizer.ggml.eos_token_id"],
  ["eos", "tokenizer.ggml.eos_token_ids"],
  ["eot", "tokenizer.ggml.eot_token_id"],
  ["eom", "tokenizer.ggml.eom_token_id"],
];

/**
 * Reads where a model ends what it writes: the union of what generation_config.json, config.json, the tokenizer and GGUF's
 * metadata name. A field or a file that cannot be followed is a note, since the model works without it.
 */
export async function stopsOf(
  checkpoint: Checkpoint,
  { d_vocab }: Pick<ModelConfig, "d_vocab">,
  tokenizer: Pick<Tokenizer, "eos"> | undefined,
): Promise<Stops> {
  const notes: string[] = [];
  const tokens = new Map<number, Set<string>>();
  for (const field of await fieldsOf(checkpoint, tokenizer, notes)) {
    for (const id of idsIn(field, d_vocab, notes)) tokens.set(id, (tokens.get(id) ?? new Set()).add(field.source));
  }
  const inOrder = [...tokens].sort(([a], [b]) => a - b);
  return { tokens: inOrder.map(([id, sources]) => ({ id, sources: [...sources] })), notes };
}

async function fieldsOf(
  checkpoint: Checkpoint,
  tokenizer: Pick<Tokenizer, "eos"> | undefined,
  notes: string[],
): Promise<Field[]> {
  const own = { source: "tokenizer", name: "the tokenizer's end token", value: tokenizer?.eos };
  const { metadata } = checkpoint;
  if (checkpoint.format === "gguf")
    return [own, ...GGUF_FIELDS.map(([source, key]) => ({ source, name: key, value: metadata[key] }))];
  const files = [
    { source: "config.json", values: metadata["config"] as Record<string, unknown> | undefined },
    { source: "generation_config.json", values: await generationConfig(checkpoint.path, notes) },
  ];
  const named = files.map(({ source, values }) => {
    return { source, name: `${source}'s eos_token_id`, value: values?.["eos_token_id"] };
  });
  return [own, ...named];
}

async function generationConfig(path: string, notes: string[]): Promise<Record<string, unknown> | undefined> {
  try {
    const file = await fileBeside(dirname(path), "generation_config.json");
    return file === undefined ? undefined : await readJsonObject(file);
  } catch (error) {
    if (!(error instanceof HeadscopeError)) throw error;
    notes.push(`generation_config.json is left out: ${error.message}`);
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
  if (others.length > 0) {
    const few = others.slice(0, 4).map((id) => String(JSON.stringify(id) ?? id).slice(0, 40));
    notes.push(`${name} names ${few.join(", ")}, and ids go from 0 to ${d_vocab - 1}: ignored`);
  }
  return listed.filter(isToken);
}
