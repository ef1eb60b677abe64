import { closeSync, constants, fstatSync, lstatSync, openSync, type Stats, statSync } from "node:fs";
import { type FileHandle, lstat, open, realpath, stat } from "node:fs/promises";
import { dirname, isAbsolute, join, relative, sep } from "node:path";
import { HeadscopeError } from "./common/errors.ts";

// Files that others made: in a model's folder, the hub's cache, a folder that is imported. A link in them may lead anywhere,
// and what looks like a file may be a pipe.

/** Tells whether a path is a folder or lies below it, by their names alone; both absolute. */
export function isInside(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way));
}

/** Tells whether a path is a link itself. */
export function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}

/** Tells whether a path is a folder or lies below it after all links are followed; false where one of them is not there. */
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
  let stats: Stats;
  try {
    stats = await stat(path);
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw openError(path, "file", cause);
  }
  if (!(await leadsInside(root, path)))
    throw new HeadscopeError("input", `${path} is a link that leads out of ${root}`, {
      remedy: "what lies elsewhere is not read for it: put the file itself there",
    });
  if (!stats.isFile()) throw unreadable(path, "file", kindOf(stats));
  return path;
}

/**
 * The path to write a file at, by its id; folders on the way may be links as long as they stay below the folder.
 * @param id a plain path
 * @throws HeadscopeError "input" for one that leads elsewhere
 */
export async function writablePath(folder: string, id: string): Promise<string> {
  let way = folder;
  for (const name of dirname(id).split("/")) {
    way = join(way, name);
    if (isLink(way) && !(await leadsInside(folder, way)))
      throw new HeadscopeError("input", `${way} is a link that leads out of ${folder}`, {
        remedy: "put a folder in its place; to keep results on another disk set HEADSCOPE_HOME",
      });
  }
  return join(folder, id);
}

/** Bytes of a file that is read as a whole, unless its reader says otherwise. */
const LONGEST = 2 ** 28;

// A pipe is opened for reading only once somebody writes to it, and holds one of the few threads that read files until then; a
// device does what it likes. So files are asked what they are before they are opened, and again after: another may have come in
// their place. Systems without these flags have no such files.
const READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);
const NO_LINK = constants.O_NOFOLLOW ?? 0;

/** Demands of a reader on a file. */
export interface RegularOptions {
  /** Name of the kind of file in errors, such as "scores file"; default "file". */
  readonly what?: string;
  /** Takes a link to a file too, default true. */
  readonly links?: boolean;
  /** Bytes that it may have, default 256 MiB. */
  readonly most?: number;
}

/** A regular file that was opened for reading; whoever has it closes it. */
export interface RegularFile {
  readonly handle: FileHandle;
  /** Bytes that it had when it was opened. */
  readonly size: number;
}

/**
 * Opens a plain file for reading; never waits for a pipe or a device.
 * @throws HeadscopeError `missing` where there is none, `input` for what is no plain file, too large, or may not be read
 */
export async function openRegular(path: string, options: RegularOptions = {}): Promise<RegularFile> {
  const { what = "file", links = true, most = LONGEST } = options;
  let handle: FileHandle | undefined;
  try {
    checkRegular(await (links ? stat : lstat)(path), path, what, most);
    handle = await open(path, links ? READ : READ | NO_LINK);
    const stats = await handle.stat();
    checkRegular(stats, path, what, most);
    return { handle, size: stats.size };
  } catch (error) {
    await handle?.close();
    throw openError(path, what, error);
  }
}

/** The bytes of a plain file. @throws as `openRegular` */
export async function readRegular(path: string, options: RegularOptions = {}): Promise<Buffer> {
  const { handle } = await openRegular(path, options);
  try {
    return await handle.readFile();
  } catch (error) {
    throw openError(path, options.what ?? "file", error);
  } finally {
    await handle.close();
  }
}

/** `openRegular` for the few places that can't wait. @returns the file's descriptor, which the caller closes */
export function openRegularSync(path: string): number {
  let file: number | undefined;
  try {
    checkRegular(statSync(path), path, "file", Number.POSITIVE_INFINITY);
    file = openSync(path, READ);
    checkRegular(fstatSync(file), path, "file", Number.POSITIVE_INFINITY);
    return file;
  } catch (error) {
    if (file !== undefined) closeSync(file);
    throw openError(path, "file", error);
  }
}

function checkRegular(stats: Stats, path: string, what: string, most: number): void {
  if (!stats.isFile()) throw unreadable(path, what, kindOf(stats));
  if (stats.size <= most) return;
  throw new HeadscopeError("input", `the ${what} ${path} has ${stats.size} bytes; ${most} are the most that are read`, {
    remedy: "check the path",
    subject: path,
  });
}

/** Names the thing that stands in place of a file. */
function kindOf(stats: Stats): string {
  const kind = stats.isDirectory() ? "folder" : stats.isFIFO() ? "pipe" : stats.isSocket() ? "socket" : "device";
  return stats.isSymbolicLink() ? "it is a link" : `it is a ${kind}`;
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EISDIR: "it is a folder",
  ELOOP: "it is a link",
  ENXIO: "it is a pipe or a device",
};

function openError(path: string, what: string, error: unknown): HeadscopeError {
  if (error instanceof HeadscopeError) return error;
  if (!isMissing(error)) return unreadable(path, what, REASONS[codeOf(error)] ?? (error as Error).message, error);
  return new HeadscopeError("missing", `there is no ${what} ${path}`, {
    remedy: "check the path",
    cause: error,
    subject: path,
  });
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "";
}

function isMissing(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes(codeOf(error));
}

function unreadable(path: string, what: string, why: string, cause?: unknown): HeadscopeError {
  return new HeadscopeError("input", `cannot read the ${what} ${path}: ${why}`, {
    remedy: "give the path of a plain file that you may read",
    cause,
    subject: path,
  });
}
