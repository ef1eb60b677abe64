import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { FolderListing } from "../../common/api/models.ts";
import { isInside, leadsInside } from "../../files.ts";
import { notFound } from "../http/problems.ts";
import { existingInside } from "./files.ts";

/** Entries of a folder that are looked at, in the order of their names. */
const MOST = 500;
const MODEL_FILE = /\.(gguf|safetensors)$/i;

/**
 * Folders and models in a folder; nothing else of it is told.
 * @param folders that may be looked into, the data folder first @param name default: these folders themselves
 * @throws Refusal 403 for a folder that lies elsewhere, also by a link; 404 for one that is not there
 */
export async function listFolder(folders: readonly string[], name?: string): Promise<FolderListing> {
  if (name === undefined) return { folders: folders.map((path) => ({ name: path, path })), models: [], more: false };
  const path = await existingInside(folders, name);
  if (!(await stat(path)).isDirectory()) throw notFound(`${name} is no folder`, "check the path");
  const entries = (await readdir(path, { withFileTypes: true }))
    .filter(({ name }) => !name.startsWith("."))
    .sort((a, b) => a.name.localeCompare(b.name));
  const listing = { folders: [] as Place[], models: [] as Place[] };
  for (const entry of entries.slice(0, MOST)) {
    const kind = await kindOf(folders, path, entry);
    if (kind !== undefined) listing[kind].push({ name: entry.name, path: join(path, entry.name) });
  }
  const above = dirname(path);
  return {
    path,
    parent: folders.some((folder) => isInside(folder, above)) ? above : undefined,
    ...listing,
    more: entries.length > MOST,
  };
}

type Place = FolderListing["folders"][number];

/** Links count as what they lead to, where that lies inside. */
async function kindOf(
  folders: readonly string[],
  folder: string,
  entry: Dirent,
): Promise<"folders" | "models" | undefined> {
  const path = join(folder, entry.name);
  if (entry.isSymbolicLink()) {
    const inside = await Promise.all(folders.map((each) => leadsInside(each, path)));
    if (!inside.includes(true)) return undefined;
  } else if (!entry.isDirectory() && !entry.isFile()) return undefined;
  const stats = await stat(path).catch(() => undefined);
  if (stats?.isFile()) return MODEL_FILE.test(entry.name) ? "models" : undefined;
  if (stats?.isDirectory() !== true) return undefined;
  const names = await readdir(path).catch((): string[] => []);
  return names.includes("config.json") && names.some((name) => MODEL_FILE.test(name)) ? "models" : "folders";
}
