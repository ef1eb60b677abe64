import { readFile } from "node:fs/promises";

type Entry = { dtype: string; shape: number[]; data_offsets: [number, number] };

/** Reads a safetensors file by its specification, apart from the code that writes it. */
export async function readSafetensorsHeader(path: string) {
  const file = await readFile(path);
  const length = Number(file.readBigUInt64LE(0));
  if (length % 8 !== 0) throw new Error("the data is not aligned");
  const { __metadata__: metadata, ...tensors } = JSON.parse(file.toString("utf8", 8, 8 + length));
  return {
    metadata: metadata as Record<string, string>,
    tensors: tensors as Record<string, Entry>,
    /** The data section. */
    bytes: new Uint8Array(file.subarray(8 + length)),
  };
}
