import { existsSync, lstatSync, readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { HeadscopeError } from "../../../common/errors.ts";
import { fileInside, isInside, isLink } from "../../../files.ts";
import { namesIn } from "../../../paths.ts";
import { INDEX, shardsOf } from "./files.ts";
import { formatHubRef, type HubRef, parseHubRef } from "./ref.ts";
import { hubCacheDir } from "./settings.ts";

// The layout is that of Python's huggingface_hub, so that each finds what the other has fetched:
//   models--org--name/blobs/ETAG             contents, by hash
//   models--org--name/snapshots/COMMIT/NAME  links to them
//   models--org--name/refs/REVISION          the commit that a branch or tag stood for

/** A checkpoint in the cache that can be opened. */
export interface CachedModel {
  /** The shortest reference that opens it. */
  readonly ref: string;
  readonly commit: string;
  /** The checkpoint's folder or GGUF file. */
  readonly path: string;
  /** Of its files. */
  readonly bytes: number;
}

const COMMIT = /^[0-9a-f]{40}$/;
/** Bytes of the largest index of shards that is read: that of a model of 100,000 tensors has some ten million. */
const LONGEST_INDEX = 2 ** 25;
/** Bytes of the longest file in `refs`; a commit has 40 digits. */
const LONGEST_REF = 256;
/** Links from one to the next before a file; the cache has one. */
const MOST_LINKS = 8;

/** Folder of a repository in the cache. @param cache default: `hubCacheDir()` */
export function repoFolder(repo: string, cache = hubCacheDir()): string {
  return join(cache, `models--${repo.replaceAll("/", "--")}`);
}

/** Folder of one commit's files. */
export function snapshotFolder(repo: string, commit: string, cache = hubCacheDir()): string {
  return join(repoFolder(repo, cache), "snapshots", commit);
}

/** The commit that a revision stood for when it was last fetched; undefined when it never was. */
export function cachedCommit({ repo, revision }: Pick<HubRef, "repo" | "revision">): string | undefined {
  return COMMIT.test(revision) ? revision : commitIn(repo, join(repoFolder(repo), "refs", ...revision.split("/")));
}

/**
 * The checkpoint in a snapshot: the GGUF file that is asked for or the only one there, or the folder itself where config and all
 * weights are there. Undefined for anything less; links that lead out of the repository's folder count as not there.
 */
export async function checkpointIn(repo: string, commit: string, file?: string): Promise<string | undefined> {
  const folder = snapshotFolder(repo, commit);
  if (file !== undefined) return isWithin(repo, join(folder, file)) ? join(folder, file) : undefined;
  const names = namesIn(folder).filter((name) => isWithin(repo, join(folder, name)));
  const weights = names.filter((name) => name.endsWith(".safetensors"));
  if (names.includes("config.json")) {
    if (names.includes("model.safetensors")) return folder;
    const shards = names.includes(INDEX) ? await readShards(join(folder, INDEX)) : undefined;
    if (shards?.every((shard) => names.includes(shard))) return folder;
    if (!names.includes(INDEX) && weights.length === 1) return folder;
  }
  const ggufs = names.filter((name) => name.endsWith(".gguf"));
  return weights.length === 0 && ggufs.length === 1 ? join(folder, ggufs[0]!) : undefined;
}

/**
 * Path of a hub reference's checkpoint in the cache; nothing is fetched.
 * @param ref as `parseHubRef` takes it
 * @throws HeadscopeError "usage" for what is no such reference, "missing" when it is not here, or not whole, "input" where
 *   a link in it leads out of the repository's folder
 */
export async function hubModelPath(ref: string): Promise<string> {
  const { repo, file, ...rest } = parseHubRef(ref);
  const commit = cachedCommit({ repo, ...rest });
  const path = commit && (await checkpointIn(repo, commit, file));
  if (path !== undefined && path !== "") return path;
  if (commit) await refuseStrayLinks(repo, commit, file);
  const others = await modelsOf(repo);
  throw new HeadscopeError("missing", `${ref} is not on this machine, or not whole (${hubCacheDir()})`, {
    remedy:
      others.length === 0
        ? `run \`headscope models pull ${ref}\``
        : `run \`headscope models pull ${ref}\`, or use ${others.map((each) => each.ref).join(" or ")}`,
  });
}

/** Names the link for which a snapshot is not whole. */
async function refuseStrayLinks(repo: string, commit: string, file: string | undefined): Promise<void> {
  const folder = snapshotFolder(repo, commit);
  for (const name of file === undefined ? namesIn(folder) : [file])
    if (/\.(json|safetensors|gguf)$/.test(name)) await fileInside(folder, name, repoFolder(repo));
}

/** Every checkpoint in the cache that can be opened, by name. */
export async function cachedModels(): Promise<CachedModel[]> {
  const repos = namesIn(hubCacheDir())
    .filter((name) => name.startsWith("models--"))
    .sort()
    .map((name) => name.slice("models--".length).replaceAll("--", "/"));
  return (await Promise.all(repos.map(modelsOf))).flat();
}

/**
 * Removes a checkpoint from the cache: its snapshot, the references to it, and the contents that no other snapshot has. Of
 * contents only files in the repository's own `blobs` are removed; links are removed themselves, never what they lead to.
 * @returns bytes freed, 0 when it was not there
 * @throws HeadscopeError (usage) for what is no reference
 */
export async function removeHubModel(ref: string): Promise<number> {
  const { repo, file, ...rest } = parseHubRef(ref);
  const commit = cachedCommit({ repo, ...rest });
  const snapshots = join(repoFolder(repo), "snapshots");
  const folder = commit && join(snapshots, commit);
  // The cache's own folders are no links: one that is leads elsewhere, and goes alone.
  const stray = [repoFolder(repo), snapshots, folder].find((path) => path && isLink(path));
  if (stray) await rm(stray);
  if (stray || !folder || !existsSync(folder)) return 0;
  const gone = new Set(filesBelow(folder).filter((path) => file === undefined || path === join(folder, file)));
  const contents = new Set([...gone].map((path) => blobOf(repo, path) ?? path));
  const others = namesIn(snapshots).flatMap((each) => filesBelow(join(snapshots, each)));
  for (const path of others.filter((each) => !gone.has(each))) contents.delete(blobOf(repo, path) ?? path);
  const freed = [...contents].reduce((sum, path) => sum + ownSize(path), 0);
  for (const path of new Set([...gone, ...contents])) await rm(path, { force: true });
  if (filesBelow(folder).length === 0) {
    for (const [, path] of refsTo(repo, commit)) await rm(path, { force: true });
    await rm(folder, { recursive: true, force: true });
  }
  if (namesIn(snapshots).length === 0) await rm(repoFolder(repo), { recursive: true, force: true });
  return freed;
}

/** The checkpoints of one repository: each commit once, by the shortest reference that has it. */
async function modelsOf(repo: string): Promise<CachedModel[]> {
  try {
    parseHubRef(`hf:${repo}`);
  } catch {
    return []; // not a name that the hub gives
  }
  const commits = namesIn(join(repoFolder(repo), "snapshots")).filter((commit) => COMMIT.test(commit));
  return (await Promise.all(commits.sort().map((commit) => modelsAt(repo, commit)))).flat();
}

async function modelsAt(repo: string, commit: string): Promise<CachedModel[]> {
  const folder = snapshotFolder(repo, commit);
  const revisions = [...refsTo(repo, commit).keys()].sort((a, b) => a.length - b.length);
  const revision = revisions.includes("main") ? "main" : (revisions[0] ?? commit);
  const whole = await checkpointIn(repo, commit);
  if (whole !== undefined)
    return [{ ref: formatHubRef({ repo, revision }), commit, path: whole, bytes: bytesOf(whole) }];
  return namesIn(folder)
    .filter((name) => name.endsWith(".gguf") && isWithin(repo, join(folder, name)))
    .map((file) => {
      const path = join(folder, file);
      return { ref: formatHubRef({ repo, file, revision }), commit, path, bytes: bytesOf(path) };
    });
}

/** Revisions that stand for a commit, with the files that say so. */
function refsTo(repo: string, commit: string): Map<string, string> {
  const folder = join(repoFolder(repo), "refs");
  const files = filesBelow(folder).filter((path) => commitIn(repo, path) === commit);
  return new Map(files.map((path) => [relative(folder, path).replaceAll(sep, "/"), path]));
}

/** The commit that a file of `refs` holds. */
function commitIn(repo: string, path: string): string | undefined {
  if (!isWithin(repo, path) || sizeOf(path) > LONGEST_REF) return undefined;
  const commit = readFileSync(path, "utf8").trim();
  return COMMIT.test(commit) ? commit : undefined;
}

/** Shards by the file of their index, as it was then. */
const indices = new Map<string, { readonly stamp: string; readonly shards: string[] | undefined }>();

/**
 * The shards that an index in the cache names; an index that has not changed is not read again.
 * @returns undefined for what is no index or an immense one: then the checkpoint is not whole, and a pull mends it
 */
export async function readShards(path: string): Promise<string[] | undefined> {
  const { size, mtimeMs, ino } = statSync(path);
  if (size > LONGEST_INDEX) return undefined;
  const stamp = `${size} ${mtimeMs} ${ino}`;
  const cached = indices.get(path);
  if (cached?.stamp === stamp) return cached.shards;
  const shards = await readFile(path, "utf8")
    .then((text) => shardsOf(JSON.parse(text)))
    .catch(() => undefined);
  indices.set(path, { stamp, shards });
  return shards;
}

/** Files and links at any depth; links to folders are not entered, and neither is a folder that is one. */
function filesBelow(folder: string): string[] {
  if (isLink(folder)) return [];
  return namesIn(folder).flatMap((name) => {
    const path = join(folder, name);
    return lstatSync(path).isDirectory() ? filesBelow(path) : [path];
  });
}

/** Bytes of a file, or of all in a folder. */
export function bytesOf(path: string): number {
  const files = statSync(path).isDirectory() ? filesBelow(path) : [path];
  return files.reduce((sum, file) => sum + sizeOf(file), 0);
}

/** Bytes of a file, links followed; 0 for what is none. */
function sizeOf(path: string): number {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats?.isFile() ? stats.size : 0;
}

/** Bytes of a file itself; 0 for a link. */
function ownSize(path: string): number {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  return stats?.isFile() ? stats.size : 0;
}

/** Tells whether a path is a plain file in the repository's folder, its own links followed. */
function isWithin(repo: string, path: string): boolean {
  const [root, file] = [repoFolder(repo), path].map(real);
  return root !== undefined && file !== undefined && isInside(root, file) && lstatSync(file).isFile();
}

/**
 * The name among the repository's `blobs` that a snapshot's link leads to, which may be removed with it; undefined for a link
 * to anywhere else, and for a file.
 */
function blobOf(repo: string, link: string): string | undefined {
  const [root, blobs] = [repoFolder(repo), join(repoFolder(repo), "blobs")].map(real);
  if (root === undefined || blobs === undefined || !isInside(root, blobs)) return undefined;
  let path = link;
  for (let hop = 0; hop < MOST_LINKS && isLink(path); hop++) {
    const from = real(dirname(path));
    if (from === undefined) return undefined;
    path = resolve(from, readlinkSync(path));
    if (real(dirname(path)) === blobs) return isFileOrLink(path) ? join(blobs, basename(path)) : undefined;
  }
  return undefined;
}

function isFileOrLink(path: string): boolean {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  return stats !== undefined && (stats.isFile() || stats.isSymbolicLink());
}

/** The path after all links; undefined where they lead nowhere. */
function real(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
