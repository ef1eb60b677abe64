import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";
import { type Part, type Parts, readPart, readPartBf16, readPartNarrow } from "../families/index.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { f32ToBf16 } from "../formats/half.ts";
import type { LoadOptions } from "../load.ts";
import { Matrix } from "./matrix.ts";
import { slotsOf, type Weights, weightsOf } from "./weights.ts";

/**
 * Reads the parts of a checkpoint into tensors, and frees them again where one fails.
 * @throws as `Checkpoint.read` does
 */
export async function readWeights(
  checkpoint: Checkpoint,
  config: ModelConfig,
  parts: Parts,
  { weights, onProgress, signal }: Pick<LoadOptions, "weights" | "onProgress" | "signal">,
): Promise<Weights> {
  const tensors = new Map<string, Matrix | Tensor>();
  try {
    for (const { name, kind, shape } of slotsOf(config)) {
      const part = parts[name];
      if (!part) continue;
      signal?.throwIfAborted();
      onProgress?.(tensors.size / Object.keys(parts).length);
      const tensor =
        kind === "matrix"
          ? await readMatrix(checkpoint, part, shape as [number, number], weights)
          : tf.tensor(await readPart(checkpoint, part), [...shape]);
      tensors.set(name, tensor);
    }
    return weightsOf(config, tensors);
  } catch (error) {
    for (const tensor of tensors.values()) tensor.dispose();
    throw error;
  }
}

async function readMatrix(
  checkpoint: Checkpoint,
  part: Part,
  shape: [number, number],
  weights: LoadOptions["weights"],
): Promise<Matrix> {
  const narrow = weights === "q8" ? await readPartNarrow(checkpoint, part) : undefined;
  if (narrow) return Matrix.fromNarrow(narrow, shape);
  if (weights === "bf16") {
    const stored = await readPartBf16(checkpoint, part);
    return Matrix.fromBf16(stored ?? f32ToBf16(await readPart(checkpoint, part)), shape);
  }
  return Matrix.fromValues(await readPart(checkpoint, part), shape);
}
