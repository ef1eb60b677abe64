import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { HeadscopeError } from "../../errors.ts";
import { parseJson, readText } from "../../json.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { tokenizerFromGguf } from "./tokenizer-gguf.ts";
import { folderTokenizer, type TokenizerSettings } from "./tokenizer-json.ts";
import { tokenizerFromVocab } from "./tokenizer-vocab.ts";

/** A checkpoint's tokenizer, or why it has none that can be used. */
export interface TokenizerResult {
  readonly tokenizer: Tokenizer | undefined;
  /** What is wrong with the tokenizer that is there; undefined where it is used, or where there is none. */
  readonly tokenizerFault: string | undefined;
}

/**
 * A checkpoint's own tokenizer: in the GGUF file; or beside the weights tokenizer.json, or vocab.json with merges.txt, or
 * tokenizer.model, with special_tokens_map.json, tokenizer_config.json, added_tokens.json and chat_template.jinja. It fails
 * alone: token ids do without, so what is wrong with it is a result and no error.
 */
export async function tokenizerOf(checkpoint: Checkpoint): Promise<TokenizerResult> {
  try {
    if (checkpoint.format !== "gguf") return found(await tokenizerIn(dirname(checkpoint.path)));
    const has = checkpoint.metadata["tokenizer.ggml.model"] !== undefined;
    return found(has ? tokenizerFromGguf(checkpoint.metadata) : undefined);
  } catch (error) {
    if (!(error instanceof HeadscopeError)) throw error;
    return { tokenizer: undefined, tokenizerFault: error.message };
  }
}

const found = (tokenizer: Tokenizer | undefined): TokenizerResult => ({ tokenizer, tokenizerFault: undefined });

type Json = Readonly<Record<string, unknown>>;

async function tokenizerIn(folder: string): Promise<Tokenizer | undefined> {
  const has = (name: string) => existsSync(join(folder, name));
  const text = (name: string) => readSide(join(folder, name));
  const json = async (name: string) => objectIn(await text(name), join(folder, name));
  const optional = async (name: string) => (has(name) ? await json(name) : undefined);
  const kind = ["tokenizer.json", "vocab.json", "tokenizer.model"].find(has);
  if (kind === undefined) return undefined;
  const config = { ...(await optional("tokenizer_config.json")) };
  // Newer folders keep the template in a file of its own, which then counts.
  if (has("chat_template.jinja")) config["chat_template"] = await text("chat_template.jinja");
  const specialTokensMap = await optional("special_tokens_map.json");
  const addedTokens = await optional("added_tokens.json");
  const settings: TokenizerSettings = {
    config,
    ...(specialTokensMap === undefined ? {} : { specialTokensMap }),
    ...(addedTokens === undefined ? {} : { addedTokens }),
    modelType: (await optional("config.json"))?.["model_type"],
  };
  if (kind === "tokenizer.json") return folderTokenizer(await json(kind), settings);
  if (kind === "vocab.json" && has("merges.txt"))
    return tokenizerFromVocab(await json(kind), await text("merges.txt"), settings);
  if (!has("tokenizer.model"))
    throw new HeadscopeError("unsupported", "the tokenizer is a vocab.json without merges.txt", {
      remedy: "put tokenizer.json beside it",
    });
  const { tokenizerFromSentencePiece } = await import("./tokenizer-sentence-piece.ts");
  return tokenizerFromSentencePiece(join(folder, "tokenizer.model"), settings);
}

/** A text file beside the weights. Clones without git-lfs hold a pointer in its place. */
async function readSide(path: string): Promise<string> {
  const text = await readText(path, "tokenizer file");
  if (text.startsWith("version https://git-lfs"))
    throw new HeadscopeError("corrupt", `${path} is a pointer of git-lfs and not the file itself`, {
      remedy: "fetch it with git lfs pull",
    });
  return text;
}

function objectIn(text: string, path: string): Json {
  const value = parseJson(text, path);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
  throw new HeadscopeError("corrupt", `${path} is no JSON object`, { remedy: "fetch the file again" });
}
