import { HeadscopeError } from "../../../common/errors.ts";
import { isPlainName } from "../../../setup/names.mjs";
import { FILES_BESIDE } from "../../formats/model-folder.ts";
import { formatHubRef, type HubRef } from "./ref.ts";

/** A file in a repository. */
export interface HubFile {
  /** From the repository's root. */
  readonly path: string;
  readonly bytes: number;
  /** SHA-256 of the content (64 digits) for large files, git's SHA-1 (40) for small ones; also the blob's name in the cache. */
  readonly etag: string;
}

/** The files of a checkpoint in a repository. */
export interface Selection {
  /** Config, tokenizer, and the weights where they are one file. */
  readonly files: readonly HubFile[];
  /** The index of sharded weights; it says which shards to fetch. */
  readonly index?: HubFile;
}

/** Name of the index of sharded weights. */
export const INDEX = "model.safetensors.index.json";

/** Every file that may be fetched beside the weights: text and the SentencePiece model, nothing that runs when it is read. */
const BESIDE: ReadonlySet<string> = new Set(["config.json", "chat_template.json", ...FILES_BESIDE]);

const PICKLE = /\.(bin|pt|pth|ckpt|pkl|pickle)$/;

/**
 * The files of a checkpoint in a repository's listing: the one GGUF file that the reference names, or else config, tokenizer
 * and safetensors (one file, or an index and its shards), or else its only GGUF file.
 * @throws HeadscopeError "missing", "unsupported" (pickles only) or "usage" (several to choose from)
 */
export function selectFiles(ref: HubRef, listing: readonly HubFile[]): Selection {
  const named = new Map(listing.map((file) => [file.path, file]));
  const ggufs = [...named.keys()].filter((path) => path.endsWith(".gguf"));
  if (ref.file !== undefined) {
    const file = named.get(ref.file);
    if (file === undefined) throw noSuchFile(ref, ggufs);
    return { files: [whole(ref, file)] };
  }
  const beside = listing.filter(({ path }) => BESIDE.has(path));
  const weights = named.get("model.safetensors");
  if (weights) return withConfig(ref, { files: [...beside, weights] });
  const index = named.get(INDEX);
  if (index) return withConfig(ref, { files: beside, index });
  const others = [...named.keys()].filter((path) => path.endsWith(".safetensors"));
  if (others.length === 1) return withConfig(ref, { files: [...beside, named.get(others[0]!)!] });
  if (ggufs.length === 1) return { files: [whole(ref, named.get(ggufs[0]!)!)] };
  if (ggufs.length > 1)
    throw new HeadscopeError("usage", `${formatHubRef(ref)} has several checkpoints (${someOf(ggufs)})`, {
      remedy: `name one: ${formatHubRef({ ...ref, file: ggufs[0]! })}`,
    });
  throw noWeights(ref, [...named.keys()], others);
}

/**
 * The shards that an index names.
 * @param json the parsed index
 * @returns names in the index's own folder, each once, sorted; undefined when it is no index or names a path elsewhere
 */
export function shardsOf(json: unknown): string[] | undefined {
  const map = (json as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== "object" || map === null || Array.isArray(map)) return undefined;
  const shards = [...new Set<unknown>(Object.values(map))];
  const plain = (shard: unknown): shard is string => isPlainName(shard) && shard.endsWith(".safetensors");
  return shards.length > 0 && shards.every(plain) ? shards.sort() : undefined;
}

/** A piece of a split file is useless alone; said before it is fetched. */
function whole(ref: HubRef, file: HubFile): HubFile {
  if (!/-\d{5}-of-\d{5}\.gguf$/.test(file.path)) return file;
  throw new HeadscopeError(
    "unsupported",
    `${file.path} of ${formatHubRef(ref)} is one of several pieces of a GGUF file`,
    { remedy: "choose one that is whole, or join the pieces (llama-gguf-split --merge) and give the path" },
  );
}

function withConfig(ref: HubRef, selection: Selection): Selection {
  if (selection.files.some(({ path }) => path === "config.json")) return selection;
  throw new HeadscopeError("missing", `${formatHubRef(ref)} has weights, but no config.json`, {
    remedy: "choose a repository in the layout of transformers",
  });
}

function noSuchFile(ref: HubRef, ggufs: readonly string[]): HeadscopeError {
  const { repo, revision } = ref;
  return new HeadscopeError("missing", `${formatHubRef({ repo, revision })} has no file ${ref.file}`, {
    remedy: ggufs.length > 0 ? `it has ${someOf(ggufs)}` : "look at the repository's files",
  });
}

function noWeights(ref: HubRef, names: readonly string[], safetensors: readonly string[]): HeadscopeError {
  if (safetensors.length > 0)
    return new HeadscopeError(
      "unsupported",
      `${formatHubRef(ref)} has several safetensors files and no ${INDEX} (${someOf(safetensors)})`,
      { remedy: "choose a repository in the layout of transformers" },
    );
  const pickle = names.find((name) => PICKLE.test(name));
  if (pickle !== undefined)
    return new HeadscopeError("unsupported", `${formatHubRef(ref)} has its weights only as a pickle (${pickle})`, {
      remedy: "pickles run code when they are read, so they are never fetched; convert it to safetensors",
    });
  return new HeadscopeError("missing", `${formatHubRef(ref)} holds no checkpoint`, {
    remedy: "choose a repository with model.safetensors or a .gguf file",
  });
}

function someOf(names: readonly string[]): string {
  return names.length <= 6 ? names.join(", ") : `${names.slice(0, 5).join(", ")} and ${names.length - 5} more`;
}
