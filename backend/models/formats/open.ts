import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { HeadscopeError } from "../../common/errors.ts";
import { type ByteSource, corrupt, openBytes } from "./bytes.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { adapterFolder, foreignFile, SIGNATURE_BYTES } from "./foreign.ts";
import { openGguf } from "./gguf/gguf.ts";
import { besidePath, fileBeside } from "./model-folder.ts";
import { openSafetensors, readConfig, withAliases } from "./safetensors/checkpoint.ts";
import { openSharded } from "./safetensors/sharded.ts";

/** Names of PyTorch's own files: pytorch_model.bin, model.pt, consolidated.00.pth, and their indices. */
const PICKLE = /(^|[/\\])pytorch_model[^/\\]*\.bin$|\.(pt|pth|ckpt|pkl|pickle)$|\.bin\.index\.json$/;
const INDEX = /\.safetensors\.index\.json$/;
const SHARD = /^(.+)-\d{5}-of-\d{5}\.safetensors$/;

function pickled(path: string): HeadscopeError {
  return new HeadscopeError("unsupported", `${path} is a pickle: reading it would run code in it`, {
    remedy: "it is never unpickled: convert it to safetensors in an environment where running it is safe",
  });
}

/** The file of a folder that holds the model, or the index of the files that do. */
async function fileIn(folder: string): Promise<string> {
  const names = (await readdir(folder)).sort();
  if (names.includes("model.safetensors")) return besidePath(folder, "model.safetensors");
  const indices = names.filter((name) => INDEX.test(name));
  const index = indices.find((name) => name === "model.safetensors.index.json") ?? indices[0];
  if (index !== undefined) return besidePath(folder, index);
  const files = names.filter((name) => /\.(gguf|safetensors)$/.test(name));
  if (files.length === 1) return besidePath(folder, files[0]!);
  const pickle = names.find((name) => PICKLE.test(name));
  if (files.length === 0 && pickle !== undefined) throw pickled(join(folder, pickle));
  if (files.length === 0 && names.includes("adapter_config.json")) throw adapterFolder(folder);
  if (files.length > 1 && files.every((name) => SHARD.test(name))) {
    throw new HeadscopeError("missing", `${folder} holds the parts of a checkpoint without their index`, {
      remedy: "fetch model.safetensors.index.json as well",
    });
  }
  throw new HeadscopeError(
    "missing",
    files.length === 0 ? `${folder} holds no checkpoint` : `${folder} holds several checkpoints (${files.join(", ")})`,
    { remedy: files.length === 0 ? "give a folder with model.safetensors, or a .gguf file" : "give the path of one" },
  );
}

async function openContent(source: ByteSource): Promise<Checkpoint> {
  const { path, size } = source;
  if (size === 0) throw corrupt(path, "it is empty");
  const start = await source.read(0, Math.min(size, SIGNATURE_BYTES));
  const starts = (...bytes: number[]) => bytes.every((byte, i) => start[i] === byte);
  if (starts(0x47, 0x47, 0x55, 0x46)) return openGguf(source);
  // "PK" is torch.save's zip, 0x80 with a protocol number a bare pickle. A safetensors header of 640 bytes starts like
  // that too, but the upper bytes of its length are 0 and a brace follows.
  const isHeader = start[8] === 0x7b && start.subarray(4, 8).every((byte) => byte === 0);
  if (starts(0x50, 0x4b, 3, 4) || (start[0] === 0x80 && start[1]! >= 2 && start[1]! <= 5 && !isHeader))
    throw pickled(path);
  if (start[8] === 0x7b) return withAliases(await openSafetensors(source, await readConfig(path)));
  const foreign = foreignFile(path, start);
  if (foreign) throw foreign;
  if (PICKLE.test(path)) throw pickled(path); // torch's oldest files are tar archives
  const bytes = Buffer.from(start.subarray(0, 8)).toString("hex");
  throw new HeadscopeError("unsupported", `${path} is neither GGUF nor safetensors (it starts with 0x${bytes})`, {
    remedy: "give a .gguf or .safetensors file",
  });
}

/** A part of a checkpoint stands for the whole: its index, where one lies beside it. */
async function wholeOf(path: string): Promise<string> {
  const stem = SHARD.exec(basename(path))?.[1];
  const index = stem === undefined ? undefined : await fileBeside(dirname(path), `${stem}.safetensors.index.json`);
  return index ?? path;
}

/**
 * Opens a checkpoint by its content, not by its name, and checks its header; no weights are read yet.
 * @param path a GGUF or safetensors file, the index of several, or a folder with one (safetensors: with config.json)
 * @throws HeadscopeError "missing", "corrupt" or "unsupported", naming file, tensor, expected and found; "input" for a file
 *   that is a link out of its folder, or no plain file. The path that is given may be a link itself: whoever gave it says so
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const isFolder = await stat(path).then(
    (stats) => stats.isDirectory(),
    () => false, // openBytes says what is wrong with it
  );
  const file = isFolder ? await fileIn(path) : await wholeOf(path);
  if (INDEX.test(file)) return openSharded(file);
  const source = await openBytes(file);
  try {
    return await openContent(source);
  } catch (error) {
    await source.close();
    throw error;
  }
}
