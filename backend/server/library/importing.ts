import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { z } from "zod";
import { IMPORTED_FILES, type importRequest } from "../../common/api/exports.ts";
import type { ScoresEntry } from "../../common/api/heads.ts";
import { parseScores } from "../../common/heads/scores.ts";
import { importers, scoresImporter } from "../../exports/index.ts";
import { writeFileAtomic } from "../../paths.ts";
import type { ServerContext } from "../context.ts";
import { limited } from "../http/problems.ts";
import { existingInside } from "./files.ts";
import { scoresId } from "./library.ts";

/** Another project's head file: its contents by name, or its path. */
type Request = z.output<ReturnType<typeof importRequest>>;

/** Has the worker read a foreign head file, and keeps it as scores. */
export async function readForeign(request: Request, context: ServerContext, signal: AbortSignal): Promise<ScoresEntry> {
  const { format, params = {} } = request;
  const { folder, roots, models, interactive, library, watcher } = context;
  scoresImporter(format);
  importers.parse(format, params);
  const model = await models.allowed(request.model);
  const read = async (path: string): Promise<ScoresEntry> => {
    const answer = await interactive.ask("import", { format, model, path, params }, { signal });
    const scores = parseScores(answer, path);
    const entry = await library.writeScores(scoresId(scores), scores);
    watcher.changed();
    return entry;
  };
  if ("path" in request) return read(await existingInside(roots.folders, request.path));
  const importFolder = join(folder, "imports", randomBytes(6).toString("hex"));
  try {
    return await read(await written(request.files, join(importFolder, format)));
  } finally {
    await rm(importFolder, { recursive: true, force: true });
  }
}

/** Writes the contents down. @returns the file, or the folder where there are several */
async function written(files: Readonly<Record<string, string>>, folder: string): Promise<string> {
  const entries = Object.entries(files);
  if (entries.length === 0) throw limited(422, "no file was given", `give 1 to ${IMPORTED_FILES}`);
  for (const [name, content] of entries) await writeFileAtomic(join(folder, name), content);
  return entries.length === 1 ? join(folder, entries[0]![0]) : folder;
}
