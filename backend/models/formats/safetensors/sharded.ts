import { createHash } from "node:crypto";
import { dirname } from "node:path";
import { HeadscopeError } from "../../../common/errors.ts";
import { isPlainName } from "../../../setup/names.mjs";
import { corrupt, missingTensor, openBytes } from "../bytes.ts";
import type { Checkpoint, TensorInfo } from "../checkpoint.ts";
import { foreignFile, SIGNATURE_BYTES } from "../foreign.ts";
import { readJsonObject } from "../json-file.ts";
import { besidePath } from "../model-folder.ts";
import { openSafetensors, readConfig, withAliases } from "./checkpoint.ts";

/** Most files of one checkpoint; the largest public models have some hundreds. */
const MOST_SHARDS = 2048;

/** The file that each tensor lies in. Throws HeadscopeError "corrupt" unless every file is a plain name beside the index. */
function weightMap(path: string, index: Readonly<Record<string, unknown>>): Map<string, string> {
  const map = index["weight_map"];
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw corrupt(path, "its weight_map is no object of tensor names and files");
  }
  const places = new Map<string, string>();
  for (const [tensor, file] of Object.entries(map as Record<string, unknown>)) {
    // A name with a folder in it could reach any file of the machine.
    if (!isPlainName(file) || !file.endsWith(".safetensors")) {
      const label = (JSON.stringify(file) ?? "nothing").slice(0, 80);
      throw corrupt(path, `tensor "${tensor}" lies in ${label}; expected the name of a safetensors file beside it`);
    }
    places.set(tensor, file);
  }
  if (places.size === 0) throw corrupt(path, "its weight_map names no tensor");
  return places;
}

/** Tensors and index must agree both ways: a tensor in another file than the index says may be an older one. */
function checkPlaces(path: string, places: ReadonlyMap<string, string>, shards: ReadonlyMap<string, Checkpoint>): void {
  for (const [tensor, file] of places) {
    const shard = shards.get(file)!;
    if (!shard.tensors.has(tensor)) {
      throw new HeadscopeError("missing", `${shard.path} holds no tensor "${tensor}", which ${path} says it does`, {
        remedy: "fetch the checkpoint again: its files are of different versions",
      });
    }
  }
  for (const [file, shard] of shards) {
    for (const tensor of shard.tensors.keys()) {
      const place = places.get(tensor);
      if (place === file) continue;
      const said = place === undefined ? "does not name" : `says is in ${place}`;
      throw new HeadscopeError("mismatch", `${shard.path} holds tensor "${tensor}", which ${path} ${said}`, {
        remedy: "fetch the checkpoint again: its files are of different versions",
      });
    }
  }
}

async function openShards(path: string, files: readonly string[]): Promise<Map<string, Checkpoint>> {
  const shards = new Map<string, Checkpoint>();
  try {
    for (const file of files) {
      const source = await openBytes(await besidePath(dirname(path), file));
      try {
        const foreign = foreignFile(source.path, await source.read(0, Math.min(source.size, SIGNATURE_BYTES)));
        if (foreign) throw foreign;
        shards.set(file, await openSafetensors(source, undefined));
      } catch (error) {
        await source.close();
        throw error;
      }
    }
    return shards;
  } catch (error) {
    await Promise.all([...shards.values()].map((shard) => shard.close()));
    throw error;
  }
}

/** The texts of an index's metadata, among which its writer notes tensors that share their memory. */
function stringsOf(metadata: unknown): Record<string, string> {
  const entries = Object.entries(metadata ?? {}).filter(([, value]) => typeof value === "string");
  return Object.fromEntries(entries) as Record<string, string>;
}

/** One digest of several files: of their names and digests, in the order of the names. */
async function digestOf(shards: ReadonlyMap<string, Checkpoint>): Promise<string> {
  const sha256 = createHash("sha256");
  for (const [file, shard] of shards) sha256.update(`${file} ${await shard.digest()}\n`);
  return `sha256:${sha256.digest("hex")}`;
}

/**
 * Opens a checkpoint that lies in several safetensors files, with the config.json beside them.
 * @param path its index, model.safetensors.index.json
 * @throws HeadscopeError "corrupt" for a damaged index or file, "missing" for a file or tensor that the index names and
 *   is not there, "mismatch" for a tensor in another file than the index says
 */
export async function openSharded(path: string): Promise<Checkpoint> {
  const index = await readJsonObject(path);
  const places = weightMap(path, index);
  const files = [...new Set(places.values())].sort();
  if (files.length > MOST_SHARDS) throw corrupt(path, `it names ${files.length} files; ${MOST_SHARDS} are the most`);
  const config = await readConfig(path);
  const shards = await openShards(path, files);
  const close = async () => {
    await Promise.all([...shards.values()].map((shard) => shard.close()));
  };
  try {
    checkPlaces(path, places, shards);
  } catch (error) {
    await close();
    throw error;
  }
  const shardOf = (name: string): Checkpoint => {
    const file = places.get(name);
    if (file === undefined) throw missingTensor(path, name);
    return shards.get(file)!;
  };
  const tensors = new Map<string, TensorInfo>();
  for (const name of places.keys()) tensors.set(name, shardOf(name).tensors.get(name)!);
  const strings = Object.assign(
    stringsOf(index["metadata"]),
    ...[...shards.values()].map((shard) => shard.metadata["safetensors"]),
  );
  return withAliases({
    path,
    format: "safetensors",
    metadata: { safetensors: strings, ...(config === undefined ? {} : { config }) },
    tensors,
    read: async (name) => shardOf(name).read(name),
    readNarrow: async (name) => shardOf(name).readNarrow(name),
    readStored: async (name) => shardOf(name).readStored(name),
    digest: () => digestOf(shards),
    close,
  });
}
