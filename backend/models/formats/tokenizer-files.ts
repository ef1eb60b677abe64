import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { HeadscopeError } from "../../errors.ts";
import { LONGEST_TEMPLATE, TOKENIZER_CONFIG_JSON, TOKENIZER_JSON } from "./budgets.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { readJsonObject, readModelText } from "./json-file.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { tokenizerFromGguf } from "./tokenizer-gguf.ts";
import { tokenizerFromJson } from "./tokenizer-json.ts";

/**
 * A checkpoint's own tokenizer: in the GGUF file, or tokenizer.json beside the weights with special_tokens_map.json,
 * tokenizer_config.json and chat_template.jinja.
 * @returns undefined where it has none or one of a kind not read yet, since token ids do without
 * @throws HeadscopeError "corrupt" or "input" for a damaged one
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
  const at = (name: string): string => join(folder, name);
  if (!existsSync(at("tokenizer.json"))) return undefined;
  const limits = TOKENIZER_CONFIG_JSON;
  const parts: Record<string, unknown>[] = [];
  for (const name of ["special_tokens_map.json", "tokenizer_config.json"])
    if (existsSync(at(name))) parts.push(await readJsonObject(at(name), limits));
  // Newer folders keep the template in a file of its own, which then counts.
  if (existsSync(at("chat_template.jinja")))
    parts.push({ chat_template: await readModelText(at("chat_template.jinja"), LONGEST_TEMPLATE) });
  // Fields, not assignments: a key "__proto__" is one like any other.
  const config = Object.fromEntries(parts.flatMap((part) => Object.entries(part)));
  return tokenizerFromJson(await readJsonObject(at("tokenizer.json"), TOKENIZER_JSON), config);
}
