import { existsSync, readdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { HeadscopeError } from "./common/errors.ts";

export { cacheDir, writeAtomic as writeFileAtomic } from "./setup/files.mjs";

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
