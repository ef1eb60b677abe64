import { existsSync, lstatSync, readFileSync, realpathSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { HeadscopeError } from "../../errors.ts";
import { namesIn } from "../../paths.ts";
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
  if (COMMIT.test(revision)) return revision;
  const commit = textOf(join(repoFolder(repo), "refs", ...revision.split("/")))?.trim();
  return commit !== undefined && COMMIT.test(commit) ? commit : undefined;
}

/**
 * The checkpoint in a snapshot: the GGUF file that is asked for or the only one there, or the folder itself where config and all
 * weights are there. Undefined for anything less.
 */
export function checkpointIn(folder: string, file?: string): string | undefined {
  if (file !== undefined) return existsSync(join(folder, file)) ? join(folder, file) : undefined;
  const names = namesIn(folder).filter((name) => existsSync(join(folder, name))); // a link may lead nowhere
  const weights = names.filter((name) => name.endsWith(".safetensors"));
  if (names.includes("config.json")) {
    if (names.includes("model.safetensors")) return folder;
    const shards = names.includes(INDEX) ? readShards(join(folder, INDEX)) : undefined;
    if (shards?.every((shard) => names.includes(shard))) return folder;
    if (!names.includes(INDEX) && weights.length === 1) return folder;
  }
  const ggufs = names.filter((name) => name.endsWith(".gguf"));
  return weights.length === 0 && ggufs.length === 1 ? join(folder, ggufs[0]!) : undefined;
}

/**
 * Path of a hub reference's checkpoint in the cache; nothing is fetched.
 * @param ref as `parseHubRef` takes it
 * @throws HeadscopeError "usage" for what is no such reference, "missing" when it is not here, or not whole
 */
export function hubModelPath(ref: string): string {
  const parsed = parseHubRef(ref);
  const commit = cachedCommit(parsed);
  const path = commit && checkpointIn(snapshotFolder(parsed.repo, commit), parsed.file);
  if (path !== undefined && path !== "") return path;
  const others = cachedModels().filter((each) => parseHubRef(each.ref).repo === parsed.repo);
  throw new HeadscopeError("missing", `${ref} is not on this machine, or not whole (${hubCacheDir()})`, {
    remedy:
      others.length === 0
        ? `run \`headscope models pull ${ref}\``
        : `run \`headscope models pull ${ref}\`, or use ${others.map((each) => each.ref).join(" or ")}`,
  });
}

/** Every checkpoint in the cache that can be opened, by name. */
export function cachedModels(): CachedModel[] {
  const cache = hubCacheDir();
  return namesIn(cache)
    .filter((name) => name.startsWith("models--"))
    .sort()
    .flatMap((name) => modelsOf(name.slice("models--".length).replaceAll("--", "/")));
}

/**
 * Removes a checkpoint from the cache: its snapshot, the references to it, and the contents that no other snapshot has.
 * @returns bytes freed, 0 when it was not there
 * @throws HeadscopeError (usage) for what is no reference
 */
export async function removeHubModel(ref: string): Promise<number> {
  const { repo, file, ...rest } = parseHubRef(ref);
  const commit = cachedCommit({ repo, ...rest });
  const folder = commit && snapshotFolder(repo, commit);
  if (!folder || !existsSync(folder)) return 0;
  const gone =
    file === undefined ? filesBelow(folder) : filesBelow(folder).filter((path) => path === join(folder, file));
  const blobs = new Set(gone.map(real));
  await Promise.all(gone.map((path) => rm(path, { force: true })));
  if (filesBelow(folder).length === 0) {
    for (const [, path] of refsTo(repo, commit!)) await rm(path, { force: true });
    await rm(folder, { recursive: true, force: true });
  }
  const snapshots = namesIn(join(repoFolder(repo), "snapshots"));
  if (snapshots.length === 0) {
    const freed = [...blobs].reduce((sum, path) => sum + sizeOf(path), 0);
    await rm(repoFolder(repo), { recursive: true, force: true });
    return freed;
  }
  for (const each of snapshots) for (const path of filesBelow(snapshotFolder(repo, each))) blobs.delete(real(path));
  let freed = 0;
  for (const path of blobs) {
    freed += sizeOf(path);
    await rm(path, { force: true });
  }
  return freed;
}

/** The checkpoints of one repository: each commit once, by the shortest reference that has it. */
function modelsOf(repo: string): CachedModel[] {
  try {
    parseHubRef(`hf:${repo}`);
  } catch {
    return []; // not a name that the hub gives
  }
  return namesIn(join(repoFolder(repo), "snapshots"))
    .filter((commit) => COMMIT.test(commit))
    .sort()
    .flatMap((commit) => {
      const folder = snapshotFolder(repo, commit);
      const revisions = [...refsTo(repo, commit).keys()].sort((a, b) => a.length - b.length);
      const revision = revisions.includes("main") ? "main" : (revisions[0] ?? commit);
      const whole = checkpointIn(folder);
      if (whole !== undefined)
        return [{ ref: formatHubRef({ repo, revision }), commit, path: whole, bytes: bytesOf(whole) }];
      return namesIn(folder)
        .filter((name) => name.endsWith(".gguf") && existsSync(join(folder, name)))
        .map((file) => {
          const path = join(folder, file);
          return { ref: formatHubRef({ repo, file, revision }), commit, path, bytes: bytesOf(path) };
        });
    });
}

/** Revisions that stand for a commit, with the files that say so. */
function refsTo(repo: string, commit: string): Map<string, string> {
  const folder = join(repoFolder(repo), "refs");
  const found = filesBelow(folder).filter((path) => textOf(path)?.trim() === commit);
  return new Map(found.map((path) => [relative(folder, path).replaceAll(sep, "/"), path]));
}

function readShards(path: string): string[] | undefined {
  try {
    return shardsOf(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined; // damaged: then the checkpoint is not whole, and a pull mends it
  }
}

/** Files and links to files at any depth. */
function filesBelow(folder: string): string[] {
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

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path; // a link that leads nowhere
  }
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
