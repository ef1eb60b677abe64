import { randomBytes } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { HeadscopeError } from "./common/errors.ts";

/** Folder of what can be fetched again: the native library and pulled models. */
export function cacheDir(): string {
  return join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "headscope");
}

/** Folder of a user's own runs and results (HEADSCOPE_HOME, default ./.headscope). */
export function dataDir(): string {
  return resolve(process.env["HEADSCOPE_HOME"] || ".headscope");
}

/**
 * Folder of one run's files.
 * @param id "<task>-<n>"
 * @param folder data folder, default `dataDir()`
 * @throws HeadscopeError `usage` for an id that could name a path elsewhere
 */
export function runFolder(id: string, folder = dataDir()): string {
  if (!/^[a-z0-9][a-z0-9-]*$/i.test(id))
    throw new HeadscopeError("usage", `"${id}" is no run`, { remedy: "runs are named <task>-<number>: see runs list" });
  return join(folder, "runs", id);
}

/** File of a run's state after a step, from which the run can go on. @param folder data folder, default `dataDir()` */
export function checkpointFile(id: string, step: number, folder = dataDir()): string {
  return join(runFolder(id, folder), `step-${String(step).padStart(9, "0")}.safetensors`);
}

/**
 * Steps of a run that have a checkpoint file, ascending; none when the run has no folder.
 * @param folder data folder, default `dataDir()`
 */
export function checkpointSteps(id: string, folder = dataDir()): number[] {
  return namesIn(runFolder(id, folder))
    .flatMap((name) => /^step-(\d{9,})\.safetensors$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** Ids of the runs that have a folder, for naming the nearest one. @param folder data folder, default `dataDir()` */
export function runIds(folder = dataDir()): string[] {
  return namesIn(join(folder, "runs")).sort();
}

/**
 * Path of something that the set-up has built, seen from the bundle or from the sources.
 * @param name below dist/
 * @returns undefined where it is not built
 */
export function builtFile(name: string): string | undefined {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const file = join(folder, "dist", name);
    if (existsSync(file)) return file;
    if (folder === dirname(folder)) return undefined;
  }
}

/** A text, such as a model's reference, as a plain file name: run:induction-1@500 is run-induction-1-500. */
export function slug(text: string): string {
  const plain = text.replace(/[^A-Za-z0-9._-]+/g, "-").slice(-80);
  return plain.replace(/^[.-]+/, "") || "unnamed";
}

/** Names of what a folder holds; none when it is not there. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw error;
  }
}

/**
 * Writes a whole file or nothing: to a temporary name beside it, synced, then renamed over the old one.
 * @param write receives the open handle's path-independent writer; default writes `content`
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array | Iterable<Uint8Array>,
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString("hex")}.part`;
  try {
    const file = await open(temporary, "wx");
    try {
      if (typeof content === "string" || content instanceof Uint8Array) await file.writeFile(content);
      else for (const part of content) await file.writeFile(part);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    // The user knows the file by its own name.
    if (error instanceof Error && "path" in error) error.path = path;
    throw error;
  }
}
