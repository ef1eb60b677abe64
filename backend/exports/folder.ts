import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { HeadscopeError } from "../common/errors.ts";
import { writeFileAtomic } from "../paths.ts";
import type { ExportOptions, Written } from "./export.ts";

/**
 * Makes a whole folder or nothing: filled under a temporary name beside it, then renamed.
 * An empty folder may stand in its place; one with files needs `force`, and then holds only files that the new one has,
 * so that a mistyped path cannot wipe anything else.
 * @param fill writes the files into the folder it is given
 * @throws HeadscopeError `input` when the target cannot be replaced
 */
export async function writeFolder(
  path: string,
  options: ExportOptions,
  fill: (folder: string) => Promise<void>,
): Promise<Written> {
  const target = resolve(path);
  const old = await contents(target);
  if (old.length > 0 && options.force !== true) throw exists(path);
  await mkdir(dirname(target), { recursive: true });
  const suffix = `${process.pid}.${randomBytes(4).toString("hex")}`;
  const part = `${target}.${suffix}.part`;
  await mkdir(part);
  try {
    await fill(part);
    options.signal?.throwIfAborted();
    const files = (await readdir(part)).sort();
    const strangers = old.filter((name) => !files.includes(name));
    if (strangers.length > 0)
      throw new HeadscopeError("input", `${path} holds other files (${strangers.slice(0, 3).join(", ")})`, {
        remedy: "choose another folder: force replaces only what an export wrote",
      });
    await replace(part, target, old.length > 0 ? `${target}.${suffix}.old` : undefined);
    return { path, files };
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    const code = (error as NodeJS.ErrnoException).code;
    throw code === "ENOTEMPTY" || code === "EEXIST" ? exists(path) : error;
  }
}

async function replace(part: string, target: string, aside: string | undefined): Promise<void> {
  if (aside === undefined) return rename(part, target);
  await rename(target, aside);
  try {
    await rename(part, target);
  } catch (error) {
    await rename(aside, target);
    throw error;
  }
  await rm(aside, { recursive: true, force: true });
}

async function contents(target: string): Promise<string[]> {
  try {
    return await readdir(target);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT") return [];
    if (code === "ENOTDIR")
      throw new HeadscopeError("input", `${target} is a file, and the export is a folder`, {
        remedy: "choose another path",
      });
    throw error;
  }
}

function exists(path: string): HeadscopeError {
  return new HeadscopeError("input", `${path} already holds files`, {
    remedy: "choose another folder, or replace it with --force",
  });
}

/** Writes an export that is one file, whole or not at all. @param content is asked for once nothing stands in the way */
export async function writeFile(path: string, content: () => Parameters<typeof writeFileAtomic>[1]): Promise<Written> {
  await refuseFolder(path);
  await writeFileAtomic(path, content());
  return { path, files: [path] };
}

/** Refuses a folder where a single file is to be written. */
export async function refuseFolder(path: string): Promise<void> {
  const stats = await stat(path).catch(() => undefined);
  if (stats?.isDirectory())
    throw new HeadscopeError("input", `${path} is a folder, and one file is to be written`, {
      remedy: `give a file name, such as ${join(path, "heads")}`,
    });
}

/** Writes one file of a folder that is not in place yet, and syncs it. */
export async function writeSynced(path: string, content: string): Promise<void> {
  const file = await open(path, "wx");
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}
