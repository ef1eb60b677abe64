import { createHash, type Hash } from "node:crypto";
import { constants, lstatSync } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { HeadscopeError } from "../../../common/errors.ts";
import { type HubClient, RETRIES } from "./client.ts";
import type { HubFile } from "./files.ts";

/** A file that is fetched into the cache. */
export interface BlobRequest {
  readonly repo: string;
  /** Commit. */
  readonly revision: string;
  readonly file: HubFile;
  /** Path of the blob. */
  readonly path: string;
  /** Called with the bytes that are here. */
  readonly onBytes?: (bytes: number) => void;
}

/**
 * Name of what has come of a blob. Not Python's own `.incomplete`: it holds that one's lock by a system call that Node.js
 * lacks, and two writers in one file would spoil it.
 */
export function partOfBlob(path: string): string {
  return `${path}.headscope.incomplete`;
}

/** Tells whether a blob is here whole. A link is none: nobody has checked what it leads to. */
export function hasBlob(path: string, bytes: number): boolean {
  const entry = lstatSync(path, { throwIfNoEntry: false });
  return entry?.isFile() === true && entry.size === bytes;
}

/**
 * Fetches a blob: goes on from what an earlier try left, over lost connections, checks length and hash, and only then gives
 * it its name. What an earlier try left is thrown away once where the hash is not right.
 * @throws HeadscopeError "network" (what has come stays), "mismatch" (nothing stays), "missing", "cancelled" (stays)
 */
export async function fetchBlob(client: HubClient, request: BlobRequest): Promise<void> {
  const { file, path, repo } = request;
  const part = partOfBlob(path);
  await mkdir(dirname(path), { recursive: true });
  // A link or a pipe of that name would be written through.
  if (lstatSync(part, { throwIfNoEntry: false })?.isFile() === false) await rm(part, { recursive: true });
  for (;;) {
    const { digest, resumed } = await fill(client, request, part);
    if (digest === file.etag) break;
    await rm(part, { force: true });
    if (resumed) continue;
    throw new HeadscopeError(
      "mismatch",
      `${file.path} of ${repo} is not the file that was expected (hash ${file.etag.slice(0, 12)}…, found ${digest.slice(0, 12)}…)`,
      { remedy: "nothing of it was kept; check HF_ENDPOINT and any proxy, then pull again" },
    );
  }
  await rename(part, path);
}

/** Brings the part to its full length. @returns its hash, and whether some of it was there before */
async function fill(client: HubClient, { file, repo, revision, onBytes }: BlobRequest, part: string) {
  const handle = await open(part, constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0), 0o644);
  try {
    let { size: at } = await handle.stat();
    if (at > file.bytes) {
      await handle.truncate(0);
      at = 0;
    }
    const resumed = at > 0;
    const hash = hashOf(file);
    await hashStart(handle, at, hash, client);
    onBytes?.(at);
    for (let idle = 0; at < file.bytes; ) {
      const before = at;
      try {
        for await (const chunk of client.bytes({ repo, revision }, file, at)) {
          const part = chunk.subarray(0, file.bytes - at);
          hash.update(part);
          await handle.write(part, 0, part.length, at);
          at += part.length;
          onBytes?.(at);
          if (at === file.bytes) break; // whatever else comes, the hash decides on what is here
        }
      } catch (error) {
        if (error instanceof HeadscopeError || isFileError(error)) throw error;
      }
      if (at === file.bytes) break;
      idle = at > before ? 0 : idle + 1;
      if (idle > RETRIES) throw lost(file, repo, at);
      await client.pause(idle);
    }
    await handle.sync();
    return { digest: hash.digest("hex"), resumed };
  } finally {
    await handle.close();
  }
}

/** Large files go by SHA-256; small ones are git's own blobs, whose hash begins with their length. */
function hashOf({ etag, bytes }: HubFile): Hash {
  return etag.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${bytes}\0`);
}

async function hashStart(handle: FileHandle, length: number, hash: Hash, { signal }: HubClient): Promise<void> {
  const buffer = Buffer.allocUnsafe(2 ** 20);
  for (let at = 0; at < length; ) {
    if (signal?.aborted) throw new HeadscopeError("cancelled", "the pull was cancelled");
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, length - at), at);
    if (bytesRead === 0) return; // cut short meanwhile: then the hash will not be right
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}

/** An error of this machine's disk, such as a full one, against one of the connection. */
function isFileError(error: unknown): boolean {
  return ["write", "ftruncate", "fsync"].includes((error as NodeJS.ErrnoException | undefined)?.syscall ?? "");
}

function lost({ path, bytes }: HubFile, repo: string, at: number): HeadscopeError {
  return new HeadscopeError(
    "network",
    `the connection is lost again and again at byte ${at} of ${bytes} of ${path} of ${repo}`,
    { remedy: "pull again to go on from there" },
  );
}
