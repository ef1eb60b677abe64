import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { HeadScores } from "../../common/heads/scores.ts";
import { importers } from "../../exports/index.ts";
import { writeFileAtomic } from "../../paths.ts";
import type { ScoresEntry } from "../api.ts";
import type { ServerContext } from "../context.ts";
import { limited } from "../http/problems.ts";
import { existingInside } from "./files.ts";
import { scoresId } from "./library.ts";

/** Most files of one import. */
export const IMPORTED_FILES = 16;

/** What is read: contents by file name, or a path. */
type Given = { readonly format: string; readonly model: string; readonly params?: object | undefined } & (
  | { readonly files: Readonly<Record<string, string>> }
  | { readonly path: string }
);

/** Has the worker read a foreign head file, and keeps it as scores. */
export async function readForeign(given: Given, context: ServerContext, signal: AbortSignal): Promise<ScoresEntry> {
  const { format, params = {} } = given;
  const { folder, roots, models, interactive, library, watcher } = context;
  importers.parse(format, params as Record<string, unknown>);
  const model = await models.allowed(given.model);
  const read = async (path: string): Promise<ScoresEntry> => {
    const scores = await interactive.ask<HeadScores>("import", { format, model, path, params }, { signal });
    const entry = await library.writeScores(scoresId(scores), scores);
    watcher.changed();
    return entry;
  };
  if ("path" in given) return read(await existingInside(roots.folders, given.path));
  const own = join(folder, "imports", randomBytes(6).toString("hex"));
  try {
    return await read(await written(given.files, join(own, format)));
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}

/** Writes the contents down. @returns the file, or the folder where there are several */
async function written(files: Readonly<Record<string, string>>, folder: string): Promise<string> {
  const entries = Object.entries(files);
  if (entries.length === 0) throw limited(422, "no file was given", `give 1 to ${IMPORTED_FILES}`);
  for (const [name, content] of entries) await writeFileAtomic(join(folder, name), content);
  return entries.length === 1 ? join(folder, entries[0]![0]) : folder;
}
