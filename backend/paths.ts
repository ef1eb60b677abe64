import { randomBytes } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";

/** Folder of what can be fetched again: the native library and pulled models. */
export function cacheDir(): string {
  return join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "headscope");
}

/** Folder of a user's own runs and results (HEADSCOPE_HOME, default ./.headscope). */
export function dataDir(): string {
  return resolve(process.env["HEADSCOPE_HOME"] || ".headscope");
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
