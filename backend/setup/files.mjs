import { createHash, randomBytes } from "node:crypto";
import { createReadStream, readdirSync, readFileSync, statSync } from "node:fs";
import { copyFile, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { errorCode } from "./failure.mjs";
import { isRunning } from "./lock.mjs";

/** Folder of what can be fetched again: the native library and pulled models. @returns {string} */
export function cacheDir() {
  return join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "headscope");
}

/**
 * SHA-256 of a file's bytes, in hexadecimal.
 * @param {string} path
 * @returns {Promise<string>}
 */
export async function sha256File(path) {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest("hex");
}

/**
 * SHA-256 over the names and contents of files, in the order given.
 * @param {readonly string[]} paths
 * @param {readonly string[]} [also] further text that the hash shall depend on
 */
export function sha256Files(paths, also = []) {
  const hash = createHash("sha256");
  for (const text of also) hash.update(`${text}\0`);
  for (const path of paths) {
    const bytes = readFileSync(path);
    hash.update(`${path}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest("hex");
}

/**
 * Every file below a folder whose name one of the endings ends, sorted; nothing when there is no such folder.
 * @param {string} folder
 * @param {readonly string[]} endings such as ".ts"
 * @returns {string[]}
 */
export function filesBelow(folder, endings) {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .flatMap((entry) => {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) return filesBelow(path, endings);
        return endings.some((ending) => entry.name.endsWith(ending)) ? [path] : [];
      })
      .sort();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** @param {string} path @returns {number | undefined} bytes of a file, undefined when it is not there */
export function sizeOf(path) {
  return statSync(path, { throwIfNoEntry: false })?.size;
}

/** @param {string} path @returns {string | undefined} text of a file, undefined when it is not there */
export function readIfThere(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/**
 * Writes a whole file or nothing: to a temporary name beside it, synced, then renamed over the old one.
 * @param {string} path
 * @param {string | Uint8Array | Iterable<Uint8Array>} content
 * @returns {Promise<void>}
 */
export async function writeAtomic(path, content) {
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

const PART = /\.(\d+)(\.[0-9a-f]+)?\.part$/;

/** @param {string} path @returns {string} a name beside `path` for work in progress of this process */
export function partOf(path) {
  return `${path}.${process.pid}.part`;
}

/** Copies a file whole or not at all; the folder is made. @param {string} from @param {string} to */
export async function installFile(from, to) {
  await mkdir(dirname(to), { recursive: true });
  const part = partOf(to);
  await copyFile(from, part);
  await rename(part, to);
}

/**
 * Removes what interrupted processes left in a folder: the `.part` names of processes that are gone.
 * Names of processes that still run, and of this one, stay.
 * @param {string} folder
 */
export async function removeLeftovers(folder) {
  /** @type {string[]} */
  let names;
  try {
    names = await readdir(folder);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return;
    throw error;
  }
  for (const name of names) {
    const pid = Number(PART.exec(name)?.[1]);
    if (pid && !isRunning(pid)) await rm(join(folder, name), { recursive: true, force: true });
  }
}
