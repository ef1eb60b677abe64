import { type ByteSource, corrupt, missingTensor } from "../bytes.ts";
import type { Checkpoint, NarrowRows } from "../checkpoint.ts";
import { firstNonFinite } from "../half.ts";
import { type GgufHeader, LONGEST_HEADER, MoreBytes, parseGgufHeader } from "./header.ts";
import { checkStored, decodeFloats, decodeNarrow, quantisationByName, widen } from "./quantisation.ts";

/** Bytes read at first: the whole header of a vocabulary of 50,000 (1.8 MB). */
const FIRST_READ = 2 ** 22;

/** A tensor that belongs to a model's config: divisors of rotary frequencies. A head has some hundred dimensions. */
const ROPE_FACTORS = "rope_freqs.weight";
const MOST_FACTORS = 4096;

async function readHeader(source: ByteSource): Promise<GgufHeader> {
  for (let length = Math.min(FIRST_READ, source.size); ; ) {
    try {
      return parseGgufHeader(await source.read(0, length), source.size, source.path);
    } catch (error) {
      if (!(error instanceof MoreBytes)) throw error;
      length = Math.min(Math.max(length * 2, error.needed), source.size, LONGEST_HEADER);
    }
  }
}

/** Refuses a NaN or infinity: it would turn every logit to NaN without a word. */
function checkFinite(path: string, name: string, values: Float32Array, what: string): void {
  const index = firstNonFinite(values);
  if (index >= 0)
    throw corrupt(path, `tensor "${name}" holds ${values[index]} as ${what} ${index}; expected finite numbers`);
}

/** Opens a GGUF file whose magic number was seen. Throws HeadscopeError "corrupt" or "unsupported". */
export async function openGguf(source: ByteSource): Promise<Checkpoint> {
  const { path } = source;
  const { metadata, tensors } = await readHeader(source);

  async function blocksOf(name: string) {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw missingTensor(path, name);
    return { type: quantisationByName(tensor.type)!, tensor };
  }

  async function readNarrow(name: string): Promise<NarrowRows | undefined> {
    const { type, tensor } = await blocksOf(name);
    if (type.narrow === undefined) return undefined;
    const rows = decodeNarrow(type, await source.read(tensor.offset, tensor.bytes))!;
    checkFinite(path, name, rows.scale, "scale");
    if (rows.min !== undefined) checkFinite(path, name, rows.min, "minimum");
    return rows;
  }

  async function read(name: string): Promise<Float32Array<ArrayBuffer>> {
    const { type, tensor } = await blocksOf(name);
    const rows = await readNarrow(name);
    if (rows !== undefined) return widen(rows);
    const values = decodeFloats(type, await source.read(tensor.offset, tensor.bytes));
    checkFinite(path, name, values, "weight");
    return values;
  }

  async function readStored(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { type, tensor } = await blocksOf(name);
    return type.halves && checkStored(path, name, type, await source.read(tensor.offset, tensor.bytes));
  }

  const factors = tensors.get(ROPE_FACTORS);
  if (factors !== undefined && factors.shape.length === 1 && factors.shape[0]! <= MOST_FACTORS) {
    metadata[ROPE_FACTORS] = await read(ROPE_FACTORS);
  }

  return {
    path,
    format: "gguf",
    metadata,
    tensors,
    read,
    readNarrow,
    readStored,
    digest: () => source.digest(),
    close: () => source.close(),
  };
}
