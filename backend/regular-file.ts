import { constants, type Stats } from "node:fs";
import { type FileHandle, lstat, open, stat } from "node:fs/promises";
import { HeadscopeError } from "./errors.ts";

/** Bytes of a file that is read as a whole, unless its reader says otherwise. */
const LONGEST = 2 ** 28;

/** What a reader wants of a file. */
export interface RegularOptions {
  /** Whether a link to a file will do, default true. */
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
 * Opens a regular file for reading. What else can stand under a name is not opened: a pipe waits for a writer and holds one of the
 * few threads that read files until there is one, and a device does what it likes.
 * @param what what the file is, such as "scores file"
 * @throws HeadscopeError `missing` where there is none, `input` for what is no file, too large, or may not be read
 */
export async function openRegular(
  path: string,
  what: string,
  { links = true, most = LONGEST }: RegularOptions = {},
): Promise<RegularFile> {
  let handle: FileHandle | undefined;
  try {
    check(await (links ? stat : lstat)(path), path, what, most);
    // It may have been replaced since: without waiting, and looked at again.
    // Systems without these flags have no such files.
    const flags = (constants.O_NONBLOCK ?? 0) | (links ? 0 : (constants.O_NOFOLLOW ?? 0));
    handle = await open(path, constants.O_RDONLY | flags);
    const stats = await handle.stat();
    check(stats, path, what, most);
    return { handle, size: stats.size };
  } catch (error) {
    await handle?.close();
    throw readError(error, path, what);
  }
}

/** The bytes of a regular file. @throws as `openRegular` */
export async function readRegular(path: string, what: string, options: RegularOptions = {}): Promise<Buffer> {
  const { handle } = await openRegular(path, what, options);
  try {
    return await handle.readFile();
  } catch (error) {
    throw readError(error, path, what);
  } finally {
    await handle.close();
  }
}

function check(stats: Stats, path: string, what: string, most: number): void {
  if (!stats.isFile()) throw notRegular(path, what, stats.isDirectory() ? "it is a folder" : "it is no plain file");
  if (stats.size <= most) return;
  throw new HeadscopeError("input", `the ${what} ${path} has ${stats.size} bytes; ${most} are the most that are read`, {
    remedy: "check the path",
  });
}

function notRegular(path: string, what: string, why: string, cause?: unknown): HeadscopeError {
  return new HeadscopeError("input", `cannot read the ${what} ${path}: ${why}`, { remedy: "check the path", cause });
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EISDIR: "it is a folder",
  ELOOP: "it is a link",
  ENXIO: "it is no plain file",
};

function readError(error: unknown, path: string, what: string): unknown {
  if (error instanceof HeadscopeError) return error;
  const { code = "" } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR")
    return new HeadscopeError("missing", `there is no ${what} ${path}`, { remedy: "check the path", cause: error });
  return notRegular(path, what, REASONS[code] ?? String(error), error);
}
