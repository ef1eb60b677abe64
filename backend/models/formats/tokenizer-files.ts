import { dirname } from "node:path";
import { HeadscopeError } from "../../errors.ts";
import { LONGEST_TEMPLATE, TOKENIZER_CONFIG_JSON, TOKENIZER_JSON } from "./budgets.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { readJsonObject, readModelText } from "./json-file.ts";
import { fileBeside } from "./model-folder.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { tokenizerFromGguf } from "./tokenizer-gguf.ts";
import { tokenizerFromJson } from "./tokenizer-json.ts";

/**
 * A checkpoint's own tokenizer: in the GGUF file, or tokenizer.json beside the weights with special_tokens_map.json,
 * tokenizer_config.json and chat_template.jinja.
 * @returns undefined where it has none or one of a kind not read yet, since token ids do without
 * @throws HeadscopeError "corrupt" or "input" for a damaged one, "input" for a file that is a link out of the folder
 */
export async function tokenizerOf(checkpoint: Checkpoint): Promise<Tokenizer | undefined> {
  try {
    if (checkpoint.format !== "gguf") return await tokenizerIn(dirname(checkpoint.path));
    const has = checkpoint.metadata["tokenizer.ggml.model"] !== undefined;
    return has ? tokenizerFromGguf(checkpoint.metadata) : undefined;
  } catch (error) {
    if (error instanceof HeadscopeError && error.kind === "unsupported") return undefined;
    throw error;
  }
}

async function tokenizerIn(folder: string): Promise<Tokenizer | undefined> {
  const file = (name: string) => fileBeside(folder, name);
  const main = await file("tokenizer.json");
  if (main === undefined) return undefined;
  const parts: Record<string, unknown>[] = [];
  for (const name of ["special_tokens_map.json", "tokenizer_config.json"]) {
    const path = await file(name);
    if (path !== undefined) parts.push(await readJsonObject(path, TOKENIZER_CONFIG_JSON));
  }
  // Newer folders keep the template in a file of its own, which then counts.
  const template = await file("chat_template.jinja");
  if (template !== undefined) parts.push({ chat_template: await readModelText(template, LONGEST_TEMPLATE) });
  // Fields, not assignments: a key "__proto__" is one like any other.
  const config = Object.fromEntries(parts.flatMap((part) => Object.entries(part)));
  return tokenizerFromJson(await readJsonObject(main, TOKENIZER_JSON), config);
}
