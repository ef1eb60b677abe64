import { dirname } from "node:path";
import { HeadscopeError } from "../../../common/errors.ts";
import { type ByteSource, corrupt, missingTensor } from "../bytes.ts";
import type { Checkpoint, TensorInfo } from "../checkpoint.ts";
import { checkStored, quantisationByName } from "../gguf/quantisation.ts";
import { firstNonFinite } from "../half.ts";
import { readJsonObject } from "../json-file.ts";
import { fileBeside } from "../model-folder.ts";
import { decodeTensor, readSafetensorsHeader } from "./safetensors.ts";

/**
 * The config.json beside a checkpoint, or undefined without one.
 * @throws HeadscopeError "corrupt" when it is no JSON object, "input" for a link that leads out of the folder
 */
export async function readConfig(path: string): Promise<Record<string, unknown> | undefined> {
  const file = await fileBeside(dirname(path), "config.json");
  return file === undefined ? undefined : readJsonObject(file);
}

/**
 * The same checkpoint with each tensor also under the names of those that shared its memory when it was saved:
 * safetensors.torch.save_model writes one of them and notes the others in `__metadata__`, {"name left out": "name written"}.
 */
export function withAliases(checkpoint: Checkpoint): Checkpoint {
  const { tensors, metadata } = checkpoint;
  const aliases = new Map(Object.entries((metadata["safetensors"] ?? {}) as Record<string, string>));
  for (const [alias, name] of aliases) if (tensors.has(alias) || !tensors.has(name)) aliases.delete(alias);
  if (aliases.size === 0) return checkpoint;
  const all = new Map(tensors);
  for (const [alias, name] of aliases) all.set(alias, { ...tensors.get(name)!, name: alias });
  const nameOf = (name: string): string => aliases.get(name) ?? name;
  return {
    ...checkpoint,
    tensors: all,
    read: (name) => checkpoint.read(nameOf(name)),
    readNarrow: (name) => checkpoint.readNarrow(nameOf(name)),
    readStored: (name) => checkpoint.readStored(nameOf(name)),
  };
}

/** Types of safetensors that hold weights as they are; others are codes of some quantisation. */
export const FLOATS = ["F64", "F32", "F16", "BF16"] as const;

/** Tells whether a type holds weights as they are. */
export const isFloat = (dtype: string): dtype is (typeof FLOATS)[number] =>
  (FLOATS as readonly string[]).includes(dtype);

/**
 * Opens a safetensors file as a checkpoint.
 * @param config the parsed config.json of the model
 * @throws HeadscopeError "corrupt"
 */
export async function openSafetensors(
  source: ByteSource,
  config: Record<string, unknown> | undefined,
): Promise<Checkpoint> {
  const { path } = source;
  const { metadata: strings, tensors: entries } = await readSafetensorsHeader(source);
  const tensors = new Map<string, TensorInfo>();
  for (const [name, { dtype, shape, bytes }] of entries) tensors.set(name, { name, shape, type: dtype, bytes });
  return {
    path,
    format: "safetensors",
    metadata: { safetensors: strings, ...(config === undefined ? {} : { config }) },
    tensors,
    async read(name) {
      const entry = entries.get(name);
      if (entry === undefined) throw missingTensor(path, name);
      if (!isFloat(entry.dtype)) {
        throw new HeadscopeError(
          "unsupported",
          `${path}: tensor "${name}" is ${entry.dtype}; expected ${FLOATS.join(", ")}`,
          { remedy: "save the model's weights as floats" },
        );
      }
      const stored = decodeTensor(entry.dtype, await source.read(entry.offset, entry.bytes));
      const values =
        entry.dtype === "F64" ? Float32Array.from(stored as Float64Array) : (stored as Float32Array<ArrayBuffer>);
      const index = firstNonFinite(values);
      if (index >= 0) {
        throw corrupt(path, `tensor "${name}" holds ${values[index]} as weight ${index}; expected finite numbers`);
      }
      return values;
    },
    async readNarrow(name) {
      if (!entries.has(name)) throw missingTensor(path, name);
      return undefined;
    },
    async readStored(name) {
      const entry = entries.get(name);
      if (entry === undefined) throw missingTensor(path, name);
      const type = quantisationByName(entry.dtype);
      return type?.halves && checkStored(path, name, type, await source.read(entry.offset, entry.bytes));
    },
    digest: () => source.digest(),
    close: () => source.close(),
  };
}
