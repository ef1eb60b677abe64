import type { Tensor } from "@tensorflow/tfjs";
import { floatBytes, layoutSafetensors } from "../../exports/checkpoints/safetensors-header.ts";
import { writeFileAtomic } from "../../paths.ts";

/**
 * Writes tensors to a safetensors file in float32, whole or not at all; one at a time is copied out of the backend.
 * @param metadata text by name
 * @returns bytes of the file
 */
export async function writeTensors(
  path: string,
  tensors: readonly { readonly name: string; readonly tensor: Tensor }[],
  metadata: Readonly<Record<string, string>>,
): Promise<number> {
  const layout = layoutSafetensors(
    tensors.map(({ name, tensor }) => ({ name, shape: tensor.shape })),
    metadata,
  );
  await writeFileAtomic(path, parts(layout.header, tensors));
  return layout.bytes;
}

function* parts(header: Uint8Array, tensors: readonly { readonly tensor: Tensor }[]): Generator<Uint8Array> {
  yield header;
  for (const { tensor } of tensors) yield floatBytes(tensor.dataSync() as Float32Array);
}
