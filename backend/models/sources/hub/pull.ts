import { existsSync, realpathSync } from "node:fs";
import { mkdir, rename, rm, stat, statfs, symlink } from "node:fs/promises";
import { basename, dirname, join, relative, sep } from "node:path";
import { HeadscopeError } from "../../../common/errors.ts";
import { isInside, isLink } from "../../../files.ts";
import { writeFileAtomic } from "../../../paths.ts";
import { SetupError } from "../../../setup/failure.mjs";
import { partOf } from "../../../setup/files.mjs";
import { withLock } from "../../../setup/lock.mjs";
import type { PullProgress } from "../pull.ts";
import { fetchBlob, hasBlob, partOfBlob } from "./blob.ts";
import { bytesOf, cachedCommit, checkpointIn, readShards, repoFolder, snapshotFolder } from "./cache.ts";
import { HubClient, type Patience } from "./client.ts";
import { type HubFile, INDEX, selectFiles } from "./files.ts";
import { type HubRef, parseHubRef } from "./ref.ts";
import { hubCacheDir, hubSettings } from "./settings.ts";

/** Options of a pull from the hub. */
export interface HubPullOptions extends Patience {
  readonly onProgress?: (progress: PullProgress) => void;
  /** Stops the pull; what has come of a file stays for the next, out of the way. */
  readonly signal?: AbortSignal;
}

/** A checkpoint that was fetched from the hub. */
export interface PulledHubModel {
  readonly ref: string;
  readonly repo: string;
  readonly revision: string;
  readonly commit: string;
  /** The checkpoint's folder or GGUF file in the cache. */
  readonly path: string;
  /** Length of its files. */
  readonly bytes: number;
}

/** One pull on its way. */
interface Work {
  readonly client: HubClient;
  readonly ref: HubRef;
  readonly commit: string;
  readonly blobs: string;
  readonly onProgress: HubPullOptions["onProgress"];
}

/**
 * Fetches a checkpoint from the hub into the cache that Python's huggingface_hub keeps: config, tokenizer and safetensors, or
 * the GGUF file that the reference names, never a pickle. Contents that are there are used. Names appear when all contents are
 * there and their hashes right; the revision's comes last.
 * @param name as `parseHubRef` takes it
 * @throws HeadscopeError "usage", "missing", "unsupported", "network", "mismatch", "input" (no room) or "cancelled"
 */
export async function pullHubModel(name: string, options: HubPullOptions = {}): Promise<PulledHubModel> {
  const ref = parseHubRef(name);
  const settings = hubSettings();
  const here = cachedCommit(ref);
  const cached = here && (await checkpointIn(ref.repo, here, ref.file));
  const { repo, revision } = ref;
  if (cached && settings.offline)
    return { ref: name, repo, revision, commit: here, path: cached, bytes: bytesOf(cached) };
  if (settings.offline)
    throw new HeadscopeError("missing", `${name} is not in ${hubCacheDir()}, and HF_HUB_OFFLINE forbids fetching it`, {
      remedy: "unset HF_HUB_OFFLINE and pull again",
    });
  const client = new HubClient(settings, options, options.signal);
  const commit = await client.commit(ref);
  const blobs = join(repoFolder(repo), "blobs");
  const work = { client, ref, commit, blobs, onProgress: options.onProgress };
  await locked(ref, options, () => fetchAll(work));
  const path = await checkpointIn(repo, commit, ref.file);
  if (path === undefined)
    throw new HeadscopeError("missing", `${name} was pulled, but another process removed it`, {
      remedy: "pull it again",
    });
  return { ref: name, repo, revision, commit, path, bytes: bytesOf(path) };
}

/** One headscope at a time works on a repository, whatever its own cache folder is. */
async function locked<T>({ repo }: HubRef, { signal, onProgress }: HubPullOptions, work: () => Promise<T>): Promise<T> {
  const locks = join(hubCacheDir(), ".locks", basename(repoFolder(repo)));
  const lock = await placeIn(locks, join(locks, "headscope.lock"));
  try {
    return await withLock(lock, work, { signal, onWait: () => onProgress?.({ stage: "waiting" }) });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    throw new HeadscopeError(error.kind, error.message, { cause: error });
  }
}

async function fetchAll(work: Work): Promise<void> {
  const { client, ref, commit, blobs } = work;
  const { repo, revision } = ref;
  const listing = await client.list({ repo, revision: commit }, folderOf(ref.file));
  const { files, index } = selectFiles(ref, listing);
  const all = index ? [...files, ...(await shards(work, index, listing)), index] : files;
  for (const { etag } of all) await placeIn(repoFolder(repo), join(blobs, etag));
  await checkRoom(blobs, all);
  let before = 0;
  for (const file of all) {
    await fetchOne(work, file, before, total(all));
    before += file.bytes;
  }
  const folder = snapshotFolder(repo, commit);
  for (const { path, etag } of all)
    await linkTo(join(blobs, etag), await placeIn(repoFolder(repo), join(folder, path)));
  const name = join(repoFolder(repo), "refs", ...revision.split("/"));
  if (revision !== commit) await writeFileAtomic(await placeIn(repoFolder(repo), name), commit);
}

async function fetchOne({ client, ref, commit, blobs, onProgress }: Work, file: HubFile, before: number, of: number) {
  const path = join(blobs, file.etag);
  const onBytes = (bytes: number) => onProgress?.({ stage: "fetching", done: before + bytes, total: of });
  if (hasBlob(path, file.bytes)) onBytes(file.bytes);
  else await fetchBlob(client, { repo: ref.repo, revision: commit, file, path, onBytes });
}

/** Fetches the index, and finds the files that it names. */
async function shards(work: Work, index: HubFile, listing: readonly HubFile[]): Promise<HubFile[]> {
  const { repo } = work.ref;
  await placeIn(repoFolder(repo), join(work.blobs, index.etag));
  await fetchOne(work, index, 0, index.bytes);
  const names = await readShards(join(work.blobs, index.etag));
  if (names === undefined)
    throw new HeadscopeError("corrupt", `${INDEX} of ${repo} is no index of safetensors files`, {
      remedy: "tell the model's authors, or choose another revision",
    });
  return names.map((name) => {
    const file = listing.find(({ path }) => path === name);
    if (file) return file;
    throw new HeadscopeError("missing", `${INDEX} of ${repo} names ${name}, which is not there`, {
      remedy: "tell the model's authors, or choose another revision",
    });
  });
}

/** Refuses what the disk can't hold before the first byte comes. */
async function checkRoom(blobs: string, files: readonly HubFile[]): Promise<void> {
  let needed = 0;
  for (const { etag, bytes } of files) {
    if (hasBlob(join(blobs, etag), bytes)) continue;
    const part = await stat(partOfBlob(join(blobs, etag))).catch(() => undefined);
    needed += bytes - Math.min(bytes, part?.size ?? 0);
  }
  const { bavail, bsize } = await statfs(blobs);
  const free = bavail * bsize;
  if (needed <= free) return;
  const megabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
  throw new HeadscopeError("input", `${blobs} has room for ${megabytes(free)}, and ${megabytes(needed)} are needed`, {
    remedy: "make room, or set HF_HOME to a larger disk",
  });
}

/**
 * Makes the folder of what is to be written in the cache. The cache's own folders are no links, so that one which is leads
 * elsewhere.
 * @param root the folder of the repository or of its locks, which the path may not leave
 * @returns the path itself
 * @throws HeadscopeError "input" where a link stands in the way
 */
async function placeIn(root: string, path: string): Promise<string> {
  const cache = hubCacheDir();
  if (!isInside(root, path)) throw strayLink(path, cache);
  await mkdir(cache, { recursive: true });
  let folder = cache;
  for (const name of relative(cache, dirname(path)).split(sep)) {
    folder = join(folder, name);
    if (isLink(folder)) throw strayLink(folder, cache);
  }
  await mkdir(folder, { recursive: true });
  return path;
}

function strayLink(path: string, cache: string): HeadscopeError {
  return new HeadscopeError("input", `${path} leads out of ${cache}`, {
    remedy: "remove the link and pull again; to keep models on another disk set HF_HUB_CACHE",
  });
}

/** Makes a snapshot's name lead to a blob, as a relative link: the cache may be moved as a whole. */
async function linkTo(blob: string, name: string): Promise<void> {
  if (existsSync(name) && realpathSync(name) === realpathSync(blob)) return;
  const part = partOf(name);
  await rm(part, { force: true });
  await symlink(relative(dirname(name), blob), part);
  await rename(part, name);
}

function folderOf(file: string | undefined): string {
  const folder = file === undefined ? "." : dirname(file);
  return folder === "." ? "" : folder;
}

function total(files: readonly HubFile[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}
