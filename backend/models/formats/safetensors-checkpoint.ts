import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { HeadscopeError } from "../../errors.ts";
import { type ByteSource, corrupt, missingTensor } from "./bytes.ts";
import type { Checkpoint, TensorInfo } from "./checkpoint.ts";
import { firstNonFinite } from "./half.ts";
import { decodeTensor, readSafetensorsHeader } from "./safetensors.ts";

/** The config.json beside a checkpoint, or undefined without one. Throws HeadscopeError "corrupt" when it is no JSON object. */
async function readConfig(path: string): Promise<Record<string, unknown> | undefined> {
  const file = join(dirname(path), "config.json");
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new HeadscopeError("input", `${file} can't be read (${(cause as Error).message})`, { cause });
  }
  try {
    const config: unknown = JSON.parse(text);
    if (typeof config === "object" && config !== null && !Array.isArray(config))
      return config as Record<string, unknown>;
  } catch (cause) {
    throw corrupt(file, `it is not JSON (${(cause as Error).message})`, cause);
  }
  throw corrupt(file, "it is no JSON object");
}

/** Opens a safetensors file as a checkpoint, with the config.json beside it. Throws HeadscopeError "corrupt". */
export async function openSafetensors(source: ByteSource): Promise<Checkpoint> {
  const { path } = source;
  const { metadata: strings, tensors: entries } = await readSafetensorsHeader(source);
  const config = await readConfig(path);
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
      if (entry.dtype !== "F32" && entry.dtype !== "F16" && entry.dtype !== "BF16") {
        throw new HeadscopeError(
          "unsupported",
          `${path}: tensor "${name}" is ${entry.dtype}; expected F32, F16 or BF16`,
          {
            remedy: "save the model's weights as floats",
          },
        );
      }
      const values = decodeTensor(
        entry.dtype,
        await source.read(entry.offset, entry.bytes),
      ) as Float32Array<ArrayBuffer>;
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
    digest: () => source.digest(),
    close: () => source.close(),
  };
}
