import { statSync } from "node:fs";
import type { Tensor } from "@tensorflow/tfjs";
import { expectsKernels, hasKernels } from "../../kernels/kernels.ts";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";
import { describeCheckpoint, FAMILIES, type Parts, readPart } from "../families/index.ts";
import { biasesOf, featuresOf } from "../features.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { openCheckpoint } from "../formats/open.ts";
import { Model } from "../model.ts";
import { stopsOf } from "../stops.ts";
import { tokenizerOf } from "../tokenizers/files/files.ts";
import type { Matrix } from "../weights/matrix.ts";
import { slotsOf, type Weights, weightsOf } from "../weights/weights.ts";
import { type Holding, readMatrix } from "./held.ts";
import { availableMemory, checkMemory, estimateMemory } from "./memory.ts";
import type { LoadOptions, ModelInspection, ModelSource } from "./source.ts";

/**
 * A checkpoint in a family's layout, a file or a folder.
 * @param digest of the checkpoint where it is on record; default that of its bytes
 */
export function checkpointSource(path: string, ref: string, digest?: string): ModelSource {
  const digestOf = async (checkpoint: Checkpoint): Promise<string> => digest ?? (await checkpoint.digest());
  return {
    ref,
    checkpoint: path,
    version: () => versionOf(path, path),
    load: (options) => withCheckpoint(path, (checkpoint) => readModel(checkpoint, ref, digestOf, options)),
    describe: () =>
      withCheckpoint(path, async (checkpoint) => {
        const { family, config } = describeCheckpoint(checkpoint);
        return { ref, family: family.name, digest: await digestOf(checkpoint), config };
      }),
    inspect: () =>
      withCheckpoint(path, async (checkpoint): Promise<ModelInspection> => {
        const { family, config, parts } = describeCheckpoint(checkpoint);
        const tokenizer = await tokenizerOf(checkpoint);
        return {
          ref,
          family: family.name,
          digest: await digestOf(checkpoint),
          config,
          memory: estimateMemory(config, parts, checkpoint, expectsKernels()),
          features: featuresOf(config, biasesOf(Object.keys(parts))),
          stored: storedTypes(checkpoint),
          ...tokenizer,
          stops: await stopsOf(checkpoint, config, tokenizer.tokenizer),
        };
      }),
  };
}

/** The version of a model that is a file. @param name of the model */
export function versionOf(name: string, path: string): string {
  const { mtimeMs, size } = statSync(path);
  return `${name} ${mtimeMs} ${size}`;
}

/** Opens a checkpoint for as long as `use` takes. */
export async function withCheckpoint<T>(path: string, use: (checkpoint: Checkpoint) => Promise<T>): Promise<T> {
  const checkpoint = await openCheckpoint(path);
  try {
    return await use(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

function storedTypes({ tensors }: Checkpoint): string[] {
  const bytes = new Map<string, number>();
  for (const tensor of tensors.values()) bytes.set(tensor.type, (bytes.get(tensor.type) ?? 0) + tensor.bytes);
  return [...bytes].sort(([, a], [, b]) => b - a).map(([type]) => type);
}

async function readModel(
  checkpoint: Checkpoint,
  ref: string,
  digestOf: (checkpoint: Checkpoint) => Promise<string>,
  options: LoadOptions,
): Promise<Model> {
  const { family, config, parts } = describeCheckpoint(checkpoint, [...(options.families ?? []), ...FAMILIES]);
  const { weights = "f32" } = options;
  const holding = { weights, kernels: weights === "f32" ? expectsKernels() : hasKernels() };
  const estimate = estimateMemory(config, parts, checkpoint, holding.kernels);
  checkMemory(checkpoint.path, estimate, weights, options.memory ?? availableMemory());
  const tokenizer = await tokenizerOf(checkpoint);
  return new Model({
    ref,
    family: family.name,
    digest: await digestOf(checkpoint),
    config,
    ...tokenizer,
    stops: await stopsOf(checkpoint, config, tokenizer.tokenizer),
    weights: await readWeights(checkpoint, { config, parts, holding }, options),
  });
}

/** Reads the parts of a checkpoint into tensors, and frees them again where one fails. */
async function readWeights(
  checkpoint: Checkpoint,
  { config, parts, holding }: { config: ModelConfig; parts: Parts; holding: Holding },
  { onProgress, signal }: LoadOptions,
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
          ? await readMatrix(checkpoint, part, shape as [number, number], holding)
          : tf.tensor(await readPart(checkpoint, part), [...shape]);
      tensors.set(name, tensor);
    }
    return weightsOf(config, tensors);
  } catch (error) {
    for (const tensor of tensors.values()) tensor.dispose();
    throw error;
  }
}
