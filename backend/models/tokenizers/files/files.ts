import { dirname } from "node:path";
import { HeadscopeError } from "../../../common/errors.ts";
import { LONGEST_MERGES, LONGEST_TEMPLATE, TOKENIZER_CONFIG_JSON, TOKENIZER_JSON } from "../../formats/budgets.ts";
import type { Checkpoint } from "../../formats/checkpoint.ts";
import { readJsonObject, readModelText } from "../../formats/json-file.ts";
import { fileBeside } from "../../formats/model-folder.ts";
import type { Tokenizer } from "../tokenizer.ts";
import { tokenizerFromGguf } from "./gguf.ts";
import { folderTokenizer, type TokenizerSettings } from "./json.ts";
import { tokenizerFromVocab } from "./vocab.ts";

/** A checkpoint's tokenizer, or why it has none that can be used. */
export interface TokenizerResult {
  readonly tokenizer: Tokenizer | undefined;
  /** Fault of the tokenizer that is there; undefined where it is used, or where there is none. */
  readonly tokenizerFault: string | undefined;
}

/** Files that a tokenizer can be made of; the first that a folder has is the one. */
const VOCABULARIES = [["tokenizer.json"], ["vocab.json", "merges.txt"], ["tokenizer.model"]] as const;
/** Settings beside it. */
const SETTINGS = [
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "config.json",
] as const;

/** Paths of the files that are read, by name. */
type Paths = ReadonlyMap<string, string>;

/**
 * A checkpoint's own tokenizer: in the GGUF file; or beside the weights tokenizer.json, or vocab.json with merges.txt, or
 * tokenizer.model, with special_tokens_map.json, tokenizer_config.json, added_tokens.json and chat_template.jinja. It fails
 * alone: token ids do without, so what is wrong with it is a result and no error.
 * @throws HeadscopeError "input" for a file that is a link out of the folder
 */
export async function tokenizerOf(checkpoint: Checkpoint): Promise<TokenizerResult> {
  const folder = checkpoint.format === "gguf" ? undefined : dirname(checkpoint.path);
  const paths = folder === undefined ? undefined : await pathsIn(folder);
  try {
    if (paths !== undefined) return { tokenizer: await tokenizerAt(paths), tokenizerFault: undefined };
    const has = checkpoint.metadata["tokenizer.ggml.model"] !== undefined;
    return { tokenizer: has ? tokenizerFromGguf(checkpoint.metadata) : undefined, tokenizerFault: undefined };
  } catch (error) {
    if (!(error instanceof HeadscopeError)) throw error;
    return { tokenizer: undefined, tokenizerFault: error.message };
  }
}

async function pathsIn(folder: string): Promise<Paths> {
  const paths = new Map<string, string>();
  const look = async (names: readonly string[]): Promise<void> => {
    for (const name of names) {
      const path = await fileBeside(folder, name);
      if (path !== undefined) paths.set(name, path);
    }
  };
  for (const names of VOCABULARIES) {
    const whole = VOCABULARIES.some((vocabulary) => vocabulary.every((name) => paths.has(name)));
    if (!whole) await look(names);
  }
  if (paths.size > 0) await look(SETTINGS);
  return paths;
}

async function tokenizerAt(paths: Paths): Promise<Tokenizer | undefined> {
  const [json, vocab, merges, model] = ["tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model"].map((name) =>
    paths.get(name),
  );
  if (json === undefined && vocab === undefined && model === undefined) return undefined;
  const settings = await settingsAt(paths);
  if (json !== undefined) return folderTokenizer(await readJsonObject(json, TOKENIZER_JSON), settings);
  if (vocab !== undefined && merges !== undefined) {
    const tokens = await readJsonObject(vocab, TOKENIZER_JSON);
    return tokenizerFromVocab(tokens, await readModelText(merges, LONGEST_MERGES), settings);
  }
  if (model === undefined)
    throw new HeadscopeError("unsupported", "the tokenizer is a vocab.json without merges.txt", {
      remedy: "put tokenizer.json beside it",
    });
  const { tokenizerFromSentencePiece } = await import("./sentence-piece.ts");
  return tokenizerFromSentencePiece(model, settings);
}

async function settingsAt(paths: Paths): Promise<TokenizerSettings> {
  const json = async (name: (typeof SETTINGS)[number]) => {
    const path = paths.get(name);
    return path === undefined ? undefined : await readJsonObject(path, TOKENIZER_CONFIG_JSON);
  };
  const template = paths.get("chat_template.jinja");
  // Newer folders keep the template in a file of its own, which then counts.
  const fields = template === undefined ? {} : { chat_template: await readModelText(template, LONGEST_TEMPLATE) };
  const config = { ...(await json("tokenizer_config.json")), ...fields };
  const specialTokensMap = await json("special_tokens_map.json");
  const addedTokens = await json("added_tokens.json");
  return {
    config,
    specialTokensMap,
    addedTokens,
    modelType: (await json("config.json"))?.["model_type"],
  };
}
