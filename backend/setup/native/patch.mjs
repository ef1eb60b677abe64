import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { applyPatch, parsePatch } from "diff";
import { SetupError } from "../failure.mjs";

/**
 * Applies a unified diff to files below a folder, without the program `patch`. Strict: every line of context must match
 * and every file must be there, or nothing is written.
 * @param {string} patch text of the diff
 * @param {string} folder that its names (`+++ name`) are relative to
 * @returns {Promise<string[]>} names of the files changed
 * @throws {SetupError} mismatch
 */
export async function applyPatchFile(patch, folder) {
  const parts = parsePatch(patch).filter((part) => part.hunks.length > 0);
  if (parts.length === 0) throw new SetupError("mismatch", "the patch changes no file");
  /** @type {[name: string, text: string][]} */
  const changed = [];
  for (const part of parts) {
    const name = part.newFileName ?? "";
    const text = await readFile(join(folder, name), "utf8").catch(() => undefined);
    const result = text === undefined ? false : applyPatch(text, part, { fuzzFactor: 0 });
    if (result === false)
      throw new SetupError("mismatch", `the patch does not fit ${name}`, {
        remedy: "run npm ci: the installed package is not the version that the patch was made for",
      });
    changed.push([name, result]);
  }
  for (const [name, text] of changed) await writeFile(join(folder, name), text);
  return changed.map(([name]) => name);
}
