import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encodeSafetensors, type SafeTensor } from "../../../backend/models/formats/safetensors/safetensors.ts";

/** A dictionary to save; biases are 0 where they are left out. */
export interface SavedDictionary {
  /** Fields of cfg.json that differ from a standard dictionary's. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly hook?: string | undefined;
  /** [width][features] */
  readonly W_enc: readonly (readonly number[])[];
  /** [features][width] */
  readonly W_dec: readonly (readonly number[])[];
  readonly b_enc?: readonly number[];
  readonly b_dec?: readonly number[];
  readonly threshold?: readonly number[];
}

/** Saves a dictionary in a folder that exists, as SAELens 6 does. */
export async function saveDictionary(folder: string, { config = {}, hook, W_enc, W_dec, ...vectors }: SavedDictionary): Promise<void> {
  const [d_in, d_sae] = [W_enc.length, W_dec.length];
  const metadata = { sae_lens_version: "6.0.0", model_name: "random", ...(hook ? { hook_name: hook } : {}) };
  const standard = { architecture: "standard", d_in, d_sae, dtype: "float32", device: "cpu", apply_b_dec_to_input: true, normalize_activations: "none", reshape_activations: "none", metadata }; // biome-ignore format: one line
  await writeFile(join(folder, "cfg.json"), JSON.stringify({ ...standard, ...config }));
  const all = { b_enc: new Array<number>(d_sae).fill(0), b_dec: new Array<number>(d_in).fill(0), ...vectors };
  const tensors: Record<string, SafeTensor> = { W_enc: matrix(W_enc), W_dec: matrix(W_dec) };
  for (const [name, values] of Object.entries(all))
    if (values) tensors[name] = { dtype: "F32", shape: [values.length], data: Float32Array.from(values) };
  await writeFile(join(folder, "sae_weights.safetensors"), Buffer.concat([...encodeSafetensors(tensors)]));
} // biome-ignore format: long lines

function matrix(rows: readonly (readonly number[])[]): SafeTensor {
  return { dtype: "F32", shape: [rows.length, rows[0]!.length], data: Float32Array.from(rows.flat()) };
}
