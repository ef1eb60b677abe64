import { closeSync, constants, fstatSync, lstatSync, openSync, type Stats, statSync } from "node:fs";
import { type FileHandle, open, realpath, stat } from "node:fs/promises";
import { isAbsolute, join, relative, sep } from "node:path";
import { HeadscopeError } from "./errors.ts";

// Files that others made: in a model's folder, the hub's cache, a folder that is imported. A link in them may lead anywhere,
// and what looks like a file may be a pipe.

/** Whether a path is a folder or lies below it, by their names alone; both absolute. */
export function isInside(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way));
}

/** Whether a path is a link itself. */
export function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}

/** Whether a path is a folder or lies below it after all links are followed; false where one of them is not there. */
export async function leadsInside(folder: string, path: string): Promise<boolean> {
  const [root, real] = await Promise.all([folder, path].map((each) => realpath(each).catch(() => undefined)));
  return root !== undefined && real !== undefined && isInside(root, real);
}

/**
 * Path of a plain file in a folder that somebody else filled, to be asked for before it is read or copied.
 * @param name a plain name or path below the folder
 * @param root where links in the folder may lead, default the folder itself
 * @returns undefined where there is no such file, or a link that leads nowhere
 * @throws HeadscopeError "input" for a link that leads elsewhere, and for what is no plain file
 */
export async function fileInside(folder: string, name: string, root = folder): Promise<string | undefined> {
  const path = join(folder, name);
  let found: Stats;
  try {
    found = await stat(path);
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw unreadable(path, cause);
  }
  if (!(await leadsInside(root, path)))
    throw new HeadscopeError("input", `${path} is a link that leads out of ${root}`, {
      remedy: "what lies elsewhere is not read for it: put the file itself there",
    });
  if (!found.isFile()) throw noFile(path, found);
  return path;
}

// A pipe is opened for reading only once somebody writes to it, so files are asked what they are before they are opened.
const READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/**
 * Opens a plain file for reading; never waits for a pipe or a device.
 * @throws HeadscopeError "missing" where there is none, "input" for one that can't be read and for what is no plain file
 */
export async function openRegular(path: string): Promise<FileHandle> {
  let file: FileHandle;
  try {
    const found = await stat(path);
    if (!found.isFile()) throw noFile(path, found);
    file = await open(path, READ);
  } catch (error) {
    throw openError(path, error);
  }
  const found = await file.stat(); // another file may have come in its place
  if (found.isFile()) return file;
  await file.close();
  throw noFile(path, found);
}

/** `openRegular` for the few places that can't wait. @returns the file's descriptor, which the caller closes */
export function openRegularSync(path: string): number {
  let file: number;
  try {
    const found = statSync(path);
    if (!found.isFile()) throw noFile(path, found);
    file = openSync(path, READ);
  } catch (error) {
    throw openError(path, error);
  }
  const found = fstatSync(file);
  if (found.isFile()) return file;
  closeSync(file);
  throw noFile(path, found);
}

function openError(path: string, error: unknown): HeadscopeError {
  if (error instanceof HeadscopeError) return error;
  if (!isMissing(error)) return unreadable(path, error);
  return new HeadscopeError("missing", `there is no file ${path}`, { remedy: "check the path", cause: error });
}

function isMissing(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
}

function unreadable(path: string, cause: unknown): HeadscopeError {
  return new HeadscopeError("input", `${path} can't be opened (${(cause as Error).message})`, {
    remedy: "check that it is a file that you may read",
    cause,
  });
}

function noFile(path: string, found: Stats): HeadscopeError {
  const kind = found.isDirectory() ? "folder" : found.isFIFO() ? "pipe" : found.isSocket() ? "socket" : "device";
  return new HeadscopeError("input", `${path} is not a file but a ${kind}`, {
    remedy: "give the path of a plain file",
  });
}
