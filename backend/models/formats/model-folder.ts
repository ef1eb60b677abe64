import { join, resolve } from "node:path";
import { fileInside } from "../../files.ts";

/** A snapshot in the Hugging Face cache, whose files are links to the repository's own contents. */
const SNAPSHOT = /^(?<repo>.*[/\\]models--[^/\\]+)[/\\]snapshots[/\\][0-9a-f]{40}(?=[/\\]|$)/;

/** Files beside a model's weights that go with it as they are: its tokenizer, chat template and defaults. */
export const FILES_BESIDE: readonly string[] = [
  "tokenizer.json",
  "tokenizer_config.json",
  "tokenizer.model",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "generation_config.json",
];

/**
 * Path of a file in a model's folder, to be asked for before it is read or copied: in the folder itself, or behind a link that
 * stays in it. In the Hugging Face cache the repository's folder is what links may not leave.
 * @param name a plain file name
 * @returns undefined where there is no such file
 * @throws HeadscopeError "input" for a link that leads elsewhere, and for what is no plain file
 */
export function fileBeside(folder: string, name: string): Promise<string | undefined> {
  return fileInside(folder, name, SNAPSHOT.exec(resolve(folder))?.groups?.["repo"] ?? folder);
}

/** `fileBeside` for a file that must be there: where it is not, whoever opens the path says so. */
export async function besidePath(folder: string, name: string): Promise<string> {
  return (await fileBeside(folder, name)) ?? join(folder, name);
}
